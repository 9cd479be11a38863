"""The rule language of segments: conditions in SQL over the named features, compiled once, asked of many shoppers.

From a table of coterie.toml to an answer: `parse` reads one condition into a `tree`, `read` the whole table into Rules;
`programs` turns them into what `operators.kernels.rules` runs, and `ruleset` is both together. `plain` says what rules
mean; `explain` why a shopper is in or out, `changes` what would change that; `shipped` are the rules of a shop that has
none of its own.
"""
