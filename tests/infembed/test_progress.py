import io

from rich.console import Console

from infembed.progress import show_progress


def lines(*reports: tuple[float, int, int]) -> list[str]:
    """Report (time, done, total) to a console that is no terminal."""
    out = io.StringIO()
    times = iter([time for time, _, _ in reports])
    with show_progress(Console(file=out, width=200), unit="steps", clock=lambda: next(times)) as report:
        for _, done, total in reports:
            report("training", done, total)
    return out.getvalue().splitlines()


def test_slow_work_does_not_read_as_standing_still() -> None:
    assert lines((0, 0, 90), (100, 30, 90))[1] == (
        "training: 30 of 90 steps, 0.3 steps/s, 100 s so far, about 200 s left"
    )
    assert "1,200 steps/s" in lines((0, 0, 900_000), (100, 120_000, 900_000))[1]


def test_without_a_total_nothing_is_said_about_what_is_left() -> None:
    assert lines((0, 0, 0), (100, 500, 0)) == ["training: 0 steps", "training: 500 steps, 5.0 steps/s, 100 s so far"]


def test_elsewhere_than_on_a_terminal_there_is_a_line_a_minute_and_one_at_the_end() -> None:
    found = lines((0, 0, 9), (10, 1, 9), (59, 2, 9), (61, 3, 9), (70, 4, 9), (80, 9, 9))
    assert [line.split(" of ")[0] for line in found] == ["training: 0", "training: 3", "training: 9"]
