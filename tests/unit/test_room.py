"""How much memory is free: the least of what the system has and what a container may use."""

from __future__ import annotations

import psutil
import pytest

from nbpeft import room

GB = 1 << 30
TWO = ("memory.max", "memory.current", "memory.stat", "inactive_file")
DEEP = tuple(f"jupyter/kernel/{name}" for name in TWO[:3]) + TWO[3:]
ONE = (
    "memory/memory.limit_in_bytes",
    "memory/memory.usage_in_bytes",
    "memory/memory.stat",
    "total_inactive_file",
)


@pytest.fixture
def container(tmp_path, monkeypatch):
    """`container(names, limit, used, cache)`: its files, and 10 GB free outside."""
    monkeypatch.setattr(room, "CGROUPS", tmp_path)
    monkeypatch.setattr(room, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text("1:name=systemd:/\n0::/jupyter/kernel/../x\n")
    free = type("Free", (), {"available": 10 * GB})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)

    def write(names, limit, used, cache):
        for name, text in zip(names, (limit, used, f"anon 5\n{names[3]} {cache}"), strict=False):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")

    return write


def test_without_a_container_it_is_the_system_s(container):
    assert room.free_host_memory() == 10 * GB


@pytest.mark.parametrize("names", [TWO, ONE], ids=["version 2", "version 1"])
def test_what_a_container_leaves(container, names):
    container(names, 4 * GB, 3 * GB, 0)
    assert room.free_host_memory() == GB


@pytest.mark.parametrize("names", [TWO, ONE], ids=["version 2", "version 1"])
def test_cached_files_give_way(container, names):
    container(names, 4 * GB, 3 * GB, 2 * GB)
    assert room.free_host_memory() == 3 * GB


def test_the_narrowest_of_the_groups_that_a_process_is_in(container):
    container(TWO, 9 * GB, 3 * GB, 0)
    container(DEEP, 4 * GB, 3 * GB, 0)
    assert room.free_host_memory() == GB
    container(TWO, 3 * GB + 1, 3 * GB, 0)
    assert room.free_host_memory() == 1


def test_a_group_over_its_limit_leaves_nothing(container):
    container(TWO, 3 * GB, 4 * GB, 0)
    assert room.free_host_memory() == 0


def test_all_cached_files_count(container, tmp_path):
    container(TWO, 4 * GB, 4 * GB, GB)
    (tmp_path / "memory.stat").write_text(f"file {9 * GB}\ninactive_file {GB}\nactive_file 7\n")
    assert room.free_host_memory() == GB + 7


def test_a_container_without_a_limit(container):
    container(TWO, "max", 3 * GB, 0)
    assert room.free_host_memory() == 10 * GB


def test_a_limit_above_the_machine_s(container):
    container(ONE, 2**63 - 4096, 3 * GB, 0)
    assert room.free_host_memory() == 10 * GB
