"""The calls of the NVIDIA driver that a job with a GPU may make: those of CUDA, and no others.

Numbers of the driver's front end stand in bits 0 to 7 of a command, the letter `F` in bits 8 to 15,
and the size of an argument, which differs between drivers, above. Those of unified memory are plain
numbers. Left out: calls of graphics, video, other processes' memory, and tools.
Source: NVIDIA/open-gpu-kernel-modules (nv-ioctl-numbers.h, nv_escape.h, uvm_ioctl.h), and gVisor's
pkg/abi/nvgpu, which says which of them CUDA makes.
"""

_LETTER = ord("F") << 8
FRONT_END_MASK = 0xFFFF
_FRONT_END = {
    "CARD_INFO": 200,
    "REGISTER_FD": 201,
    "ALLOC_OS_EVENT": 206,
    "FREE_OS_EVENT": 207,
    "CHECK_VERSION_STR": 210,
    "ATTACH_GPUS_TO_FD": 212,
    "SYS_PARAMS": 214,
    "NUMA_INFO": 215,
    "WAIT_OPEN_COMPLETE": 218,
    "RM_ALLOC_MEMORY": 0x27,
    "RM_FREE": 0x29,
    "RM_CONTROL": 0x2A,
    "RM_ALLOC": 0x2B,
    "RM_DUP_OBJECT": 0x34,
    "RM_SHARE": 0x35,
    "RM_IDLE_CHANNELS": 0x41,
    "RM_VID_HEAP_CONTROL": 0x4A,
    "RM_MAP_MEMORY": 0x4E,
    "RM_UNMAP_MEMORY": 0x4F,
    "RM_ALLOC_CONTEXT_DMA2": 0x54,
    "RM_MAP_MEMORY_DMA": 0x57,
    "RM_UNMAP_MEMORY_DMA": 0x58,
    "RM_UPDATE_DEVICE_MAPPING_INFO": 0x5E,
}
_UNIFIED_MEMORY = {
    "INITIALIZE": 0x30000001,
    "DEINITIALIZE": 0x30000002,
    "CREATE_RANGE_GROUP": 23,
    "DESTROY_RANGE_GROUP": 24,
    "REGISTER_GPU_VASPACE": 25,
    "UNREGISTER_GPU_VASPACE": 26,
    "REGISTER_CHANNEL": 27,
    "UNREGISTER_CHANNEL": 28,
    "ENABLE_PEER_ACCESS": 29,
    "DISABLE_PEER_ACCESS": 30,
    "SET_RANGE_GROUP": 31,
    "MAP_EXTERNAL_ALLOCATION": 33,
    "FREE": 34,
    "REGISTER_GPU": 37,
    "UNREGISTER_GPU": 38,
    "PAGEABLE_MEM_ACCESS": 39,
    "SET_PREFERRED_LOCATION": 42,
    "UNSET_PREFERRED_LOCATION": 43,
    "ENABLE_READ_DUPLICATION": 44,
    "DISABLE_READ_DUPLICATION": 45,
    "SET_ACCESSED_BY": 46,
    "UNSET_ACCESSED_BY": 47,
    "MIGRATE": 51,
    "MIGRATE_RANGE_GROUP": 53,
    "MAP_DYNAMIC_PARALLELISM_REGION": 65,
    "UNMAP_EXTERNAL": 66,
    "ALLOC_SEMAPHORE_POOL": 68,
    "PAGEABLE_MEM_ACCESS_ON_GPU": 70,
    "VALIDATE_VA_RANGE": 72,
    "CREATE_EXTERNAL_RANGE": 73,
    "MM_INITIALIZE": 75,
}
FRONT_END = tuple(_LETTER | number for number in _FRONT_END.values())
"""To be compared with a command under `FRONT_END_MASK`."""

UNIFIED_MEMORY = tuple(_UNIFIED_MEMORY.values())
