"""What rules may say, and the one line that everything else is refused with."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.rules.durations import DURATION_MS_MAX, duration_ms, span_text
from operators.rules.errors import RuleError
from operators.rules.parse import CHARACTERS_MAX, IN_VALUES_MAX, NESTING_MAX, parse_condition
from operators.rules.plain import truth
from operators.rules.read import RULES_MAX, SCORE_PARTS_MAX, SIZE_MAX, Rules, read_rules
from operators.rules.ruleset import Ruleset
from operators.rules.vocabulary import Vocabulary

ALLOWED = "a condition is made of AND, OR, NOT, comparisons, BETWEEN, IN, IS NULL, + - * / and NULLIF"
LISTED = " (coterie features lists them)"


def _refusal(table: object) -> str:
    with pytest.raises(RuleError) as caught:
        Ruleset.of(table, ("review",), ("campaign",))
    assert "\n" not in str(caught.value)
    assert str(caught.value) == f"{caught.value.place}: {caught.value.text}"
    return str(caught.value)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("purchses_30d >= 3", f'unknown feature "purchses_30d"; did you mean "purchases_30d"?{LISTED}'),
        ("Purchases_30d >= 3", f'unknown feature "Purchases_30d"; did you mean "purchases_30d"?{LISTED}'),
        ("custom_share_7d > 1", f'unknown feature "custom_share_7d"; is it declared in events.custom_names?{LISTED}'),
        ("score_other > 1", f'unknown feature "score_other"; no segment has a score{LISTED}'),
        (
            "context_x_a_share > 0.1",
            f'unknown feature "context_x_a_share"; is it declared in events.context_names?{LISTED}',
        ),
        ("session_sequence = 'x'", '"session_sequence" is a list of items; use a feature that is a number or text'),
        ("purchases_7d", '"purchases_7d" alone is no condition; compare it, as in purchases_7d > 0'),
        ("5", "5 alone is no condition; compare it with something"),
        ("purchases_7d + 1", "purchases_7d + 1 alone is no condition; compare it with something"),
        ("purchases_7d = 'x'", "purchases_7d is a number, 'x' is text; write numbers without quotes"),
        ("'a' = 'b'", "'b' and 'a' are both texts; compare a feature with one of them"),
        ("favourite_brand = 3", "\"favourite_brand\" is text and can only be compared with a text, as in '3'"),
        ("favourite_brand IN ('a', 3)", "\"favourite_brand\" is text and can only be compared with a text, as in '3'"),
        ("favourite_brand > 'x'", '"favourite_brand" is compared with text, which > cannot; use =, <>, IN or IS NULL'),
        (
            "favourite_brand + 1 > 2",
            (
                '"favourite_brand" is text, where a number is wanted; compare it with a text,'
                " as in favourite_brand = '...'"
            ),
        ),
        (
            'favourite_brand = "shoes"',
            f"unknown feature \"shoes\"{LISTED}; a text stands in single quotes: 'shoes'",
        ),
        ("attribute_a IN ('x', 2)", '"attribute_a" is compared with texts and with 2; give one kind of them'),
        ("attribute_a = attribute_b", "two attributes have no known type; compare attribute_a with a number or text"),
        ("purchases_7d = TRUE", "purchases_7d = TRUE: only an attribute can be = or <> TRUE or FALSE"),
        (
            "1 < purchases_7d < 3",
            "1 < purchases_7d is true or false, where a number is wanted; join conditions with AND",
        ),
        ("purchases_7d + TRUE > 3", "TRUE is true or false, where a number is wanted; join conditions with AND"),
        (
            "purchases_7d / views_7d > 0.1",
            (
                "purchases_7d / views_7d: division by a window that may be empty; write NULLIF(views_7d, 0), with which"
                " the comparison is not true where views_7d is 0"
            ),
        ),
        ("purchases_7d / (1 - 1) > 0.1", "purchases_7d / (1 - 1): division by 0; divide by another number"),
        ("NULLIF(purchases_7d, views_7d) > 1", "the second value of NULLIF has to be a number, as in NULLIF(x, 0)"),
        ("purchases_7d = NULL", "a comparison with NULL is never true; write IS NULL or IS NOT NULL"),
        ("purchases_7d IS TRUE", "IS TRUE is not known here; write = TRUE"),
        ("purchases_7d IN (views_7d)", "only literals can stand behind IN; compare features with = and OR"),
        ("purchases_7d IN ()", f"IN with 0 values; give 1 to {IN_VALUES_MAX}"),
        (f"views_7d IN ({', '.join(map(str, range(65)))})", f"IN with 65 values; give 1 to {IN_VALUES_MAX}"),
        ("t.purchases_7d > 1", '"t.purchases_7d" names a table; write the feature alone: purchases_7d'),
        ("CASE WHEN views_7d > 1 THEN TRUE END", f"CASE is not known here; {ALLOWED}"),
        ("favourite_brand LIKE 'a%'", f"LIKE is not known here; {ALLOWED}"),
        ("COALESCE(views_7d, 1) > 1", f"the function COALESCE is not known here; {ALLOWED}"),
        ("mine(views_7d) > 1", f"the function mine is not known here; {ALLOWED}"),
        ("views_7d IN (SELECT 1)", f"a query is not known here; {ALLOWED}"),
        ("(SELECT 1) > 1", f"a query is not known here; {ALLOWED}"),
        ("views_7d > 1; DROP TABLE x", f'"DROP" is not expected at column 15; {ALLOWED}'),
        ("DROP TABLE x", f'"DROP" is not expected at column 1; {ALLOWED}'),
        ("1e > views_7d", "1e is not a finite number; use a smaller one"),
        ("favourite_brand = 1e", "\"favourite_brand\" is text and can only be compared with a text, as in '1e'"),
        ("views_7d::int > 1", f"CAST is not known here; {ALLOWED}"),
        ("views_7d % 2 = 1", f"% is not known here; {ALLOWED}"),
        ("views_7d > 1e999", "1e999 is not a finite number; use a smaller one"),
        ("views_7d > 1e300 * 1e300", "1e300 * 1e300 is out of range; use smaller numbers"),
        ("views_7d > 7d", f'"d" is not expected at column 13; {ALLOWED}'),
        ("views_7d > 3)", f'")" is not expected at column 13; {ALLOWED}'),
        ("views_7d >= 3 AND\nAND", f'something is missing after "AND" at line 2, column 1; {ALLOWED}'),
        ("(views_7d > 3", f'expecting ) after "3" at column 13; {ALLOWED}'),
        ("views_7d >", f'something is missing after ">" at column 10; {ALLOWED}'),
        ("favourite_brand = 'x", f"the ' at column 19 is never closed; {ALLOWED}"),
        ("  ", 'is empty; write a condition such as "purchases_7d >= 3"'),
        (7, '7 is not text; write a condition such as "purchases_7d >= 3"'),
    ],
)
def test_what_no_rule_can_mean_is_refused_with_place_and_remedy(condition: object, told: str) -> None:
    """One line, where a shop wrote it; also as a condition of a score."""
    message = _refusal({"loyal": {"where": condition}})
    assert message.startswith("segments.loyal.where: ")
    assert message.endswith(told)
    assert _refusal({"loyal": {"where": "TRUE"}, "x": {"where": condition}}) == message.replace("loyal", "x")
    if "score_" not in told:
        expected = message.replace("segments.loyal.where", "segments.loyal.score.often[0]")
        assert _refusal({"loyal": {"score": {"often": [condition, 1]}, "at_least": 1}}) == expected


@pytest.mark.parametrize(
    "condition",
    [
        "(" * 60 + "views_7d > 1" + ")" * 60,
        "(" * 900 + "views_7d > 1" + ")" * 900,
        "NOT " * 60 + "views_7d > 1",
        "NOT " * 450 + "views_7d > 1",
        "views_7d" + " + views_7d" * 60 + " > 1",
        "- " * 900 + "views_7d > 1",
    ],
)
def test_a_condition_nested_too_deeply_is_refused(condition: str) -> None:
    """Before the kernel's stacks, or Python's, are full."""
    assert f"is nested too deeply; at most {NESTING_MAX} levels" in _refusal({"a": {"where": condition}})


_SQL = """
views_7d favourite_brand attribute_a 1 1e 'x' "y" ( ) , . = < >= + - / AND OR NOT IN BETWEEN IS NULL NULLIF(
CASE WHEN THEN END LIKE SELECT FROM EXISTS( TRUE :: ; : ? [ ] { } -> || && ~ @ # ` -- /* */ INTERVAL CAST( AS
DATE ANY( OVER ARRAY[ => COLLATE ESCAPE UNION VALUES WITH SET SHOW DROP ALTER COMMENT b'1' x'ff' 0x1 N'x' 'un
"""


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(_SQL.split()), max_size=9).map(" ".join))
def test_no_words_of_sql_do_anything_but_parse_or_be_refused(text: str) -> None:
    """Also where the parser itself breaks; and it says nothing on the log."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("logging.Logger.callHandlers", lambda *_: pytest.fail("something was logged"))
        for condition in (text, f"views_7d > 1 AND {text}"):
            with suppress(RuleError):
                parse_condition(condition, "segments.a.where", Vocabulary())


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from(list("(()'\"=<>-+*/;.,%$#@!?[]{}~^&|\\`: \n\0é19aNULLTRUE")), max_size=30))
def test_no_text_does_anything_but_parse_or_be_refused(text: str) -> None:
    """Whatever a file holds: RuleError in one line, no other error."""
    try:
        parse_condition(text, "segments.a.where", Vocabulary())
    except RuleError as error:
        assert str(error).startswith("segments.a.where: ")
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ([], "segments: [] is not a table of rules; write [segments.NAME] and a line with where"),
        ({"a": 3}, 'segments.a: 3 is not a table; write {where = "..."}'),
        ({"Loyal": {"where": "TRUE"}}, "segments.Loyal: is no name of a segment"),
        ({"x" * 65: {"where": "TRUE"}}, "is no name of a segment"),
        ({"a": {"were": "TRUE"}}, 'segments.a.were: unknown setting; did you mean "where"?'),
        ({"a": {"hold": "1h"}}, "segments.a: has neither where nor score nor sequence; add one of them"),
        ({"a": {"where": "TRUE", "score": {}}}, "segments.a: has where and score; a segment has one of them"),
        (
            {"s7": {"where": "TRUE"}},
            "segments.s7: is what a segment that was found may be called; give it another name",
        ),
        ({"a": {"sequence": []}}, "segments.a.sequence: [] is no sequence; write a list of steps"),
        ({"a": {"sequence": ["view"], "within": "1d"}}, "segments.a.sequence: has 1 steps; 2 to 8 can be"),
        ({"a": {"sequence": ["view", "purchase"]}}, "segments.a: has a sequence but no within; add the time"),
        (
            {"a": {"sequence": ["view", "buy"], "within": "1d"}},
            'segments.a.sequence[1]: unknown type of event "buy" (there are view, click, search',
        ),
        (
            {"a": {"sequence": ["viw", "purchase"], "within": "1d"}},
            'segments.a.sequence[0]: unknown type of event "viw"; did you mean "view"? (there are view',
        ),
        (
            {"a": {"where": "VIEWS_7D > 1"}},
            'segments.a.where: unknown feature "VIEWS_7D"; did you mean "views_7d"?',
        ),
        ({"a": {"where": "views_7d IN (1, 'a')"}}, "views_7d is a number, 'a' is text"),
        (
            {"a": {"sequence": ["view categry = 'x'", "purchase"], "within": "1d"}},
            'segments.a.sequence[0]: unknown field "categry" of an event; did you mean "category"? (there are item_id',
        ),
        (
            {"a": {"sequence": ["view price > 3 OR price < 1", "purchase"], "within": "1d"}},
            "segments.a.sequence[0]: asks more than a step can",
        ),
        (
            {"a": {"sequence": ["view", "purchase"], "within": "1d", "stuck_at": 2}},
            "segments.a.stuck_at: is 2; of 2 steps 1 to 1 can be it",
        ),
        ({"a": {"where": "TRUE", "within": "1d"}}, "segments.a.within: belongs to a sequence; leave it out"),
        ({"a": {"where": "TRUE", "at_least": 3}}, "segments.a.at_least: belongs to a score"),
        (
            {"a": {"where": "TRUE", "hold": "1 hour"}},
            'segments.a.hold: "1 hour" is not a duration; write a whole number',
        ),
        ({"a": {"where": "TRUE", "hold": 3600}}, "segments.a.hold: 3600 is not a duration"),
        ({"a": {"where": "TRUE", "hold": True}}, "segments.a.hold: true is not a duration"),
        (
            {"a": {"where": "views_7d NOT BETWEEN 5 AND 3"}},
            "segments.a.where: BETWEEN 5 AND 3 holds no number; write the lesser one first",
        ),
        ({"a": {"where": "TRUE", "hold": "0s"}}, 'segments.a.hold: "0s" is out of range (1s to 366d)'),
        ({"a": {"score": {}, "at_least": 1}}, "segments.a.score: {} is no score; write "),
        (
            {"a": {"score": {"x": "TRUE"}, "at_least": 1}},
            "segments.a.score.x: 'TRUE' is not a condition and its points",
        ),
        ({"a": {"score": {"x": ["TRUE", "3"]}, "at_least": 1}}, "segments.a.score.x[1]: '3' is no number of points"),
        ({"a": {"score": {"x": ["TRUE", True]}, "at_least": 1}}, "segments.a.score.x[1]: true is no number of points"),
        ({"a": {"score": {"x": ["TRUE", 1e7]}, "at_least": 1}}, "give a number from -1e+06 to 1e+06"),
        ({"a": {"score": {"x": ["TRUE", 0]}, "at_least": 1}}, "segments.a.score.x[1]: is 0"),
        ({"a": {"score": {"X": ["TRUE", 1]}, "at_least": 1}}, "segments.a.score.X: is no name of a condition"),
        ({"a": {"score": {"x": ["TRUE", 1]}}}, "segments.a: has a score but no at_least; add the points"),
        (
            {"a": {"score": {"x": ["TRUE", 1], "y": ["TRUE", -1]}, "at_least": 2}},
            "segments.a.at_least: 2 can never be reached, the conditions give at most 1; lower it",
        ),
        (
            {"a": {"score": {"x": ["TRUE", 1]}, "at_least": 0}},
            "segments.a.at_least: 0 is reached by everyone, also where no condition holds; raise it above 0",
        ),
        (
            {"a": {"score": {"x": ["score_a > 1", 1]}, "at_least": 1}},
            "segments.a.score.x[0]: score_a uses itself (score_a -> score_a); take it out of one of them",
        ),
        (
            {
                "a": {"score": {"x": ["score_b > 1", 1]}, "at_least": 1},
                "b": {"score": {"x": ["score_c > 1", 1]}, "at_least": 1},
                "c": {"score": {"x": ["views_7d > 1", 1], "y": ["score_b > 1", 1]}, "at_least": 1},
            },
            "segments.c.score.y[0]: score_b uses itself (score_b -> score_c -> score_b); take it out of one of them",
        ),
        ({"a": {"where": "x" * 2001}}, f"segments.a.where: is 2,001 characters long, at most {CHARACTERS_MAX:,}"),
        (
            {f"r{n}": {"where": "TRUE"} for n in range(RULES_MAX + 1)},
            f"segments: there are 65 segments; at most {RULES_MAX} can be, leave some out",
        ),
        (
            {"a": {"score": {f"x{n}": ["TRUE", 1] for n in range(SCORE_PARTS_MAX + 1)}, "at_least": 1}},
            f"segments.a.score: has 33 conditions; at most {SCORE_PARTS_MAX} can be, leave some out",
        ),
        (
            {f"r{n}": {"where": " OR ".join(["views_7d > 1"] * 124)} for n in range(64)},
            f"clauses, numbers and values together, at most {SIZE_MAX:,}; shorten some, or leave them out",
        ),
    ],
)
def test_a_segment_that_cannot_be_is_refused_with_its_place(table: object, told: str) -> None:
    """Names, keys, kinds, durations, points, circles and every bound."""
    assert told in _refusal(table)


def _holds(condition: str, **features: Any) -> bool | None:
    rules: Rules = read_rules({"a": {"where": condition}}, ("review",), ("campaign",))
    return truth(rules.by_name["a"].condition, features)


@pytest.mark.parametrize(
    ("condition", "features", "expected"),
    [
        ("attribute_tier = 'gold'", {"attribute_tier": "gold"}, True),
        ("attribute_tier = 'gold'", {"attribute_tier": 7}, None),
        ("attribute_age >= 18", {"attribute_age": 18}, True),
        ("attribute_age >= 18", {"attribute_age": "18"}, None),
        ("attribute_vip = TRUE", {"attribute_vip": True}, True),
        ("attribute_vip <> TRUE", {"attribute_vip": False}, True),
        ("attribute_vip = TRUE", {}, None),
        ("attribute_x IS NULL", {"attribute_x": 7}, False),
        ("attribute_x IS NULL", {"attribute_x": "text"}, False),
        ("attribute_x IS NULL", {}, True),
        ('"attribute_shoe size" > 40', {"attribute_shoe size": 41}, True),
        ("device_phone_share < 0.5", {}, True),
        ('"context_campaign_spring sale_share" > 0.5', {"context_campaign_spring sale_share": 0.6}, True),
        ("favourite_context_campaign = 'spring'", {"favourite_context_campaign": "spring"}, True),
        ("'spring' <> favourite_context_campaign", {"favourite_context_campaign": None}, None),
        (
            "custom_review_7d > 0 and NOT custom_review_value_7d < 4",
            {"custom_review_7d": 1, "custom_review_value_7d": 4.5},
            True,
        ),
        ("spend_30d / NULLIF(purchases_30d, 0) > 10", {"spend_30d": 50.0, "purchases_30d": 0}, None),
        ("spend_30d / NULLIF(purchases_30d, 0) > 10", {"spend_30d": 50.0, "purchases_30d": 4}, True),
        ("spend_30d / -2 < 3", {"spend_30d": 50.0}, True),
    ],
)
def test_patterns_attributes_and_division_mean_what_the_page_says(
    condition: str, features: dict[str, Any], expected: bool | None
) -> None:
    """An attribute takes the type of what it is compared with; the share of a value that is not kept is 0."""
    assert _holds(condition, **features) is expected


@pytest.mark.parametrize(
    ("text", "ms"), [("1s", 1_000), ("90m", 5_400_000), ("1h", 3_600_000), (" 7d", 604_800_000), ("2w", 1_209_600_000)]
)
def test_a_duration_is_a_whole_number_and_a_unit(text: str, ms: int) -> None:
    """As shops write it; milliseconds come out."""
    assert duration_ms(text, "x") == ms


@pytest.mark.parametrize(
    "text", ["", "h", "1", "1.5h", "-1h", "1y", "1h30m", "1H", "367d", "9999999999s", None, 3, "0d", "\u0661h"]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    """With the place, and how one is written or how long it may be."""
    with pytest.raises(RuleError, match=r"segments\.a\.hold: .*(write a whole number and|1s to 366d)"):
        duration_ms(text, "segments.a.hold")
    assert DURATION_MS_MAX == 366 * 86_400_000


@pytest.mark.parametrize(
    ("within", "told"), [("1d", "1 day"), ("7d", "7 days"), ("2w", "14 days"), ("90m", "90 minutes"), ("1h", "1 hour")]
)
def test_a_span_is_told_in_the_greatest_unit_that_makes_it_whole(within: str, told: str) -> None:
    """One of it, or several."""
    assert span_text(duration_ms(within, "x")) == told
