"""Public data sets as event logs, one file per format, and an account of what became of every line.

A format is a function in FORMATS: it reads one source file, hands events to an Output, in order, and gives every line
it reads a class there. To add one is to write such a function and name it here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from operators.convert.completejourney import convert_completejourney
from operators.convert.online_retail import convert_online_retail
from operators.convert.output import Accounting, ConvertError, Output, WrongHeaderError
from operators.convert.sessions import convert_sessions
from operators.convert.taobao import convert_taobao
from operators.read_files import LogError, open_to_write

__all__ = ["FORMATS", "Accounting", "ConvertError", "Output", "convert"]

FORMATS: dict[str, Callable[[Path, Output], None]] = {
    "completejourney": convert_completejourney,
    "online-retail": convert_online_retail,
    "sessions": convert_sessions,
    "taobao": convert_taobao,
}
"""Every format that can be converted, by name."""


def convert(format_name: str, source: Path | str, out: Path | str, skipped: Path | str | None = None) -> Accounting:
    """Convert the file `source` into the event log `out`, and say what became of every line.

    Files whose names end in .gz or .zst are packed, the source's likewise. `skipped` is where the lines that were not
    taken in are written, with their classes, as JSON lines. Raises ConvertError, which says what is wrong, where, and
    what to do; then neither file is written.
    """
    source, out = Path(source), Path(out)
    function = FORMATS.get(format_name)
    if function is None:
        raise ConvertError(f'there is no format "{format_name}"; formats are {", ".join(FORMATS)}')
    written = [out] if skipped is None else [out, Path(skipped)]
    if len({path.resolve() for path in [source, *written]}) <= len(written):
        raise ConvertError(f"{source}: the file to read and the files to write must be different ones")
    with ExitStack() as files:
        write, *write_skipped = [files.enter_context(open_to_write(path)) for path in written]
        output = Output(format_name, source, write, write_skipped[0] if write_skipped else None)
        try:
            function(source, output)
        except WrongHeaderError as error:
            raise ConvertError(f"{error} for {format_name}; formats are {', '.join(FORMATS)}") from error
        except LogError as error:
            raise ConvertError(str(error)) from error
        return output.accounting()
