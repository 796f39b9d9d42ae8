"""The parts of the library that are mutated, and the tests that have to notice it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("mellea_rx", "tests", "docs", "examples", "benchmarks")
COPIED_FILES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", "LICENSE")


@dataclass(frozen=True)
class Part:
    """Files to mutate, as patterns, and the tests that belong to them, as arguments of pytest."""

    files: tuple[str, ...]
    tests: tuple[str, ...]

    def settings(self) -> str:
        """mutmut's section of pyproject.toml."""
        return "\n".join(
            [
                "[tool.mutmut]",
                'source_paths = ["mellea_rx"]',
                f"only_mutate = {list(self.files)}",
                f"also_copy = {[*COPIED, *COPIED_FILES]}",
                f"pytest_add_cli_args_test_selection = {list(self.tests)}",
                # A mutant that hangs is noticed by the time limit of one test, before mutmut's
                # own limit.
                'pytest_add_cli_args = ["--timeout=20", "-p", "no:cacheprovider"]',
                # The engine's thread does not exist in a forked child of a process that ran tests.
                'process_isolation = "forkserver"',
                "timeout_multiplier = 4.0",
                "timeout_constant = 5.0",
            ]
        )


PARTS = {
    "wire": Part(
        files=tuple(
            f"mellea_rx/wire/{name}.py"
            for name in (
                "line_decoder",
                "json_payload",
                "redaction",
                "sse",
                "status_errors",
                "error_text",
            )
        ),
        tests=("tests/wire",),
    ),
    "http": Part(
        files=tuple(
            f"mellea_rx/wire/{name}.py"
            for name in ("aiohttp_session", "connector", "http", "http1", "transport")
        ),
        tests=(
            "tests/wire/test_addresses.py",
            "tests/wire/test_aiohttp_session.py",
            "tests/wire/test_connections.py",
            "tests/wire/test_base_url.py",
            "tests/wire/test_connection_limit.py",
            "tests/wire/test_faults.py",
            "tests/wire/test_responses.py",
            "tests/wire/test_stray_bytes.py",
            "tests/wire/test_tls_faults.py",
            "tests/chaos/test_bodies.py",
            "tests/chaos/test_models.py",
            "tests/chaos/test_strangers.py",
            "tests/chaos/test_tls.py",
            "tests/conformance/test_http_faults.py",
        ),
    ),
    "thunk": Part(
        files=tuple(
            f"mellea_rx/core/streams/{name}.py"
            for name in (
                "thunk",
                "generation",
                "call_state",
                "broadcast",
                "buffers",
                "reader",
                "subscriptions",
            )
        ),
        # Without tests that need a separate process (exit, fork): too slow for each mutant.
        tests=(
            "tests/core/test_blocking.py",
            "tests/core/test_cancel.py",
            "tests/core/test_delivery.py",
            "tests/core/test_events.py",
            "tests/core/test_faulty_subscribers.py",
            "tests/core/test_is_computed.py",
            "tests/core/test_loops.py",
            "tests/core/test_operators.py",
            "tests/core/test_reader.py",
            "tests/core/test_reader_in_asyncio.py",
            "tests/core/test_reader_laws.py",
            "tests/core/test_retractions.py",
            "tests/core/test_unwrapping.py",
            "tests/core/test_text_buffer.py",
            "tests/core/test_value.py",
            "tests/core/test_wait_for_all.py",
            "tests/operators/test_sharing.py",
            "tests/operators/test_concurrent_map.py",
            "tests/session/test_computed.py",
            "tests/session/test_cycles.py",
            "tests/session/test_pickles.py",
            "tests/session/test_retries.py",
            "tests/session/test_sessions.py",
            "tests/session/test_transform.py",
        ),
    ),
}
