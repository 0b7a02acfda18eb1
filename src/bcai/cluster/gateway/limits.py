"""Every limit of the gateway, with its reason."""

from bcai.base.units import MIB
from bcai.jobs.spec import FILE_BYTES_MAX

# 1 MiB of code may grow six-fold as JSON escapes; 10,000 files take about 11 MiB.
BODY_BYTES_MAX = 20 * MIB
BLOB_BYTES_MAX = FILE_BYTES_MAX
FRAME_BYTES_MAX = BODY_BYTES_MAX  # a WebSocket frame carries at most a submission
FRAMES_WAITING_MAX = 32  # received and not yet read, per WebSocket; then TCP holds the sender back

PAGE_SIZE = 50
PAGE_SIZE_MAX = 200
EVENTS_PAGE = 500
EVENTS_PAGE_MAX = 1000
WAIT_S_MAX = 60.0  # a long poll; shorter than what proxies cut off

RECENT_EVENTS_MAX = 2048  # kept in memory per watched job, shared by its watchers
LAG_EVENTS_MAX = 10_000  # a live watcher further behind than this skips ahead
KEEPALIVE_S = 15.0  # silence on an event stream before a comment; finds watchers that left

CLIENT_REQUESTS_MAX = 64  # running requests and follows of one WebSocket
REPORTS_WAITING_MAX = 1000  # received from one node and not yet durable
REPORTS_BATCH_MAX = 256
HELLO_S_MAX = 10.0

CHANGE_S_MAX = 1.0  # watchers look again after this, even if the store says nothing
CHANGE_S_MIN = 0.01  # commits that come faster are served together
NODES_CACHE_S = 1.0  # admission reads the nodes at most this often

PING_S = 20.0
KEY_LOOK_S = 10.0  # how long a WebSocket outlives the key that opened it
CLOSE_POLICY = 1008  # RFC 6455, 7.4.1: the caller may not go on
SHUTDOWN_S_MAX = 10
BACKLOG = 2048  # connections that the kernel accepted and we have not taken yet
