"""Settings of every test: a busy machine is no reason to fail, nor one that ignores Ctrl-C."""

import signal

from hypothesis import HealthCheck, settings

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts background commands so, and every process of a test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
