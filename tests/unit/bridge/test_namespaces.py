from bcai.bridge.sandbox.namespaces import is_mapped


def test_an_id_is_there_only_if_a_range_holds_it() -> None:
    assert is_mapped(0x70000000, "         0          0 4294967295\n")
    container = "0 100000 65536\n"
    assert is_mapped(65535, container)
    assert not is_mapped(65536, container)
    rootless = "0 1000 1\n1 100000 65536\n"
    assert is_mapped(20_000, rootless)
    assert not is_mapped(0x70000000, rootless)
    assert not is_mapped(0, "")
