"""What the watchdog of a jail makes of what the kernel counts."""

from bcai.bridge.sandbox.watchdog import RecentKills


def test_a_kill_of_long_ago_or_of_before_the_job_explains_no_ending() -> None:
    count, now = 5, 0.0
    kills = RecentKills(lambda: count, lambda: now)
    assert not kills.look(), "it was before the job"
    count = 6
    assert kills.look(), "it is now"
    now = 0.9
    assert kills.look(), "a process with much memory takes its time to go"
    for _ in range(3):
        now += 1.0
        kills.look()
    assert not kills.look(), "whoever ends now was not killed then"
