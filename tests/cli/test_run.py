"""`mellea-rx run` in a pipe: numbered lines, JSON, and the format of errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.program import PROGRAM, environment, run
from tests.support.server_process import ServerProcess


def ollama(server: ServerProcess, model: str = "m") -> list[str]:
    return ["--backend", "ollama", "--base-url", server.url, "--model", model]


def test_each_line_says_whose_it_is_and_the_summary_goes_to_stderr(server: ServerProcess) -> None:
    server.script(
        "m",
        by_prompt={
            "hills": {"chunks": ["Up\n", "and down"]},
            "rivers": {"chunks": ["Down ", "only\n"]},
        },
    )
    ran = run("run", *ollama(server), "About hills.", "About rivers.")
    assert ran.returncode == 0, ran.stderr
    assert sorted(ran.stdout.splitlines()) == ["[1] Up", "[1] and down", "[2] Down only"]
    assert "About hills." in ran.stderr
    assert "first text" in ran.stderr


def test_prompts_run_at_once(server: ServerProcess) -> None:
    server.script("m", chunks=["a"] * 10, delay=0.05)
    ran = run("run", "--json", *ollama(server), "One.", "Two.", "Three.")
    assert ran.returncode == 0, ran.stderr
    first, last = server.log("m")[0], server.log("m")[-1]
    assert last["started"] < first["ended"]


def test_a_single_prompts_output_is_its_text() -> None:
    ran = run("run", "--backend", "scripted", "Say something.")
    assert (ran.returncode, ran.stdout) == (0, "This is a scripted answer.\n")


def test_json_has_an_object_a_line_as_each_finishes(server: ServerProcess) -> None:
    slow = {"chunks": ["late"], "delay": 0.3}
    server.script("m", by_prompt={"slow": slow, "quick": {"chunks": ["soon"]}})
    ran = run("run", "--json", *ollama(server), "A slow one.", "A quick one.")
    records = [json.loads(line) for line in ran.stdout.splitlines()]
    assert [each["text"] for each in records] == ["soon", "late"]
    assert [each["index"] for each in records] == [2, 1]
    for each in records:
        assert each["error"] is None
        assert each["finish_reason"] == "stop"
        assert each["model"] == "m"
        assert 0 < each["ttft"] <= each["duration"]
        assert each["usage"]["total_tokens"] >= each["usage"]["completion_tokens"]


def test_a_prompt_of_a_dash_is_read_from_stdin(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    ran = run("run", *ollama(server), "-", stdin="From a pipe.\n")
    assert ran.returncode == 0, ran.stderr
    assert server.log("m")[0]["body"]["messages"][-1]["content"] == "From a pipe."


def test_options_reach_the_server(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    given = ["--system", "Be brief.", "--max-tokens", "5", "--seed", "7", "--temperature", "0.5"]
    more = ["-o", "top_k=40", "-o", "context_window=512", "-o", 'stop_sequences=["END"]']
    ran = run("run", *ollama(server), *given, *more, "Go.")
    assert ran.returncode == 0, ran.stderr
    (body,) = (each["body"] for each in server.log("m") if each["path"] == "/api/chat")
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert body["options"] == {
        "temperature": 0.5,
        "seed": 7,
        "num_predict": 5,
        "num_ctx": 512,
        "stop": ["END"],
        "top_k": 40,
    }


def test_a_misspelled_option_is_refused_with_the_right_one(server: ServerProcess) -> None:
    ran = run("run", *ollama(server), "-o", "tempertaure=3", "Go.")
    assert ran.returncode == 2
    told = " ".join(ran.stderr.split())
    assert "--option has no 'tempertaure': did you mean temperature?" in told
    assert server.log() == []


def test_an_option_of_a_servers_name_is_the_same_option(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    ran = run("run", *ollama(server), "-o", "max_tokens=9", "--max-tokens", "5", "Go.")
    assert ran.returncode == 0, ran.stderr
    assert server.log("m")[0]["body"]["options"] == {"num_predict": 5}


@pytest.mark.parametrize(
    ("backend", "told"),
    [
        ("llama3.2", "name a model with: --backend ollama --model llama3.2"),
        ("openai", "OpenAI needs a key: set OPENAI_API_KEY (for another server"),
    ],
)
def test_a_backend_that_cannot_be_used_is_told_in_options(backend: str, told: str) -> None:
    ran = run("run", "--backend", backend, "Go.")
    assert ran.returncode != 0
    assert told in " ".join(ran.stderr.split())


def test_one_that_fails_does_not_hide_the_others(server: ServerProcess) -> None:
    bad = {"chunks": ["half "], "error_after": 1, "error": "crashed"}
    server.script("m", by_prompt={"bad": bad, "good": {"chunks": ["fine"]}})
    ran = run("run", *ollama(server), "A bad one.", "A good one.")
    assert ran.returncode == 1
    assert "[2] fine" in ran.stdout
    assert "[1] half" in ran.stdout
    assert "crashed" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["run", "--backend", "olama", "Go."], 2, "did you mean 'ollama'"),
        (["run", "--backend", "scripted", "  "], 2, "prompt 1 is empty"),
        (["run", "--backend", "scripted", "-", "-"], 2, "once"),
        (["run"], 2, "--help"),
        (["rnu"], 2, "rnu"),
        (
            ["run", "--backend", "scripted", "-o", "seed=x", "Go."],
            2,
            "--seed must be a whole number",
        ),
        (["run", "--backend", "scripted", "-o", "seed", "Go."], 2, "KEY=VALUE"),
        (["run", "--max-token", "5", "Go."], 2, "--max-token: did you mean --max-tokens"),
        (["run", "--tempurature", "5", "Go."], 2, "did you mean --temperature"),
        (["chat", "--sead", "5"], 2, "did you mean --seed"),
        (["models", "--backend", "olama"], 2, "'olama'"),
        (["models", "--base-url", "http://127.0.0.1:9"], 2, "--backend"),
        (["run", "--backend", "ollama", "Go."], 3, "ollama serve"),
        (["run", "--backend", "local", "--model", "nowhere.gguf", "Go."], 3, "nowhere.gguf"),
    ],
)
def test_an_error_is_a_few_lines_and_a_code(arguments: list[str], code: int, told: str) -> None:
    ran = run(*arguments)
    assert ran.returncode == code, ran.stderr
    assert told in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stderr.startswith("error: ")
    assert ran.stdout == ""


def test_an_unknown_model_names_what_brings_it(server: ServerProcess) -> None:
    ran = run("run", *ollama(server, "nobody"), "Go.")
    assert ran.returncode == 3
    assert "ollama pull nobody" in ran.stderr


def test_a_server_that_stalls_times_out(server: ServerProcess) -> None:
    server.script("m", chunks=["a", "b"], stall_after=1)
    ran = run("run", *ollama(server), "--timeout", "0.3", "Go.")
    assert ran.returncode == 4
    assert ran.stdout == "a\n"
    assert "stopped sending" in ran.stderr


def test_a_key_is_never_shown(server: ServerProcess) -> None:
    server.script("m", status=401, body={"error": {"message": "bad key sk-secret-1"}})
    env = {"OPENAI_API_KEY": "sk-secret-1", "OPENAI_BASE_URL": server.url}
    ran = run("run", "--backend", "openai", "--model", "m", "Go.", env=env)
    assert ran.returncode == 1
    assert "sk-secret" not in ran.stdout + ran.stderr


def test_a_closed_pipe_ends_it_quietly(server: ServerProcess) -> None:
    server.script("m", chunks=["line\n"] * 200, delay=0.01)
    command = " ".join([*PROGRAM, "run", *ollama(server), "Go."])
    ran = subprocess.run(
        ["bash", "-c", f"{command} | head -1"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert ran.stdout == "line\n"
    assert "Traceback" not in ran.stderr
    assert "BrokenPipe" not in ran.stderr


def test_the_missing_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['typer'] = None\n"
        "from mellea_rx.cli import main\nsys.argv = ['mellea-rx', 'doctor']\nmain()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 2
    assert "pip install 'mellea-rx[cli]'" in ran.stderr


def test_auto_says_once_what_it_took(server: ServerProcess) -> None:
    server.script("/api/tags", body={"models": [{"name": "m:latest"}]})
    server.script("m:latest", chunks=["ok"])
    ran = run("run", "One.", "Two.", env={"OLLAMA_HOST": server.url})
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("using Ollama at") == 1


@pytest.mark.parametrize("command", [["run"], ["chat"], ["doctor"], []])
def test_help_is_there_with_examples_and_exit_codes(command: list[str]) -> None:
    ran = run(*command, "--help")
    assert ran.returncode == 0
    assert "Usage: mellea-rx" in ran.stdout
    if command != ["doctor"]:
        assert "Exit codes" in ran.stdout
        assert "Examples" in ran.stdout


def test_text_on_stdin_goes_ahead_of_the_prompt(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    ran = run("run", *ollama(server), "Sum it up.", stdin="A long story.\nIts end.\n")
    assert ran.returncode == 0, ran.stderr
    asked = server.log("m")[0]["body"]["messages"][-1]["content"]
    assert asked == "A long story.\nIts end.\n\nSum it up."


def test_text_on_stdin_goes_ahead_of_each_prompt(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    ran = run("run", *ollama(server), "Sum it up.", "Translate it.", stdin="A story.")
    assert ran.returncode == 0, ran.stderr
    asked = {entry["body"]["messages"][-1]["content"] for entry in server.log("m")}
    assert asked == {"A story.\n\nSum it up.", "A story.\n\nTranslate it."}


def test_without_a_prompt_stdin_is_the_prompt(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    ran = run("run", *ollama(server), stdin="From a pipe.\n")
    assert ran.returncode == 0, ran.stderr
    assert server.log("m")[0]["body"]["messages"][-1]["content"] == "From a pipe."


def test_a_dash_among_prompts_is_stdin_alone(server: ServerProcess) -> None:
    server.script("m", chunks=["ok"])
    ran = run("run", *ollama(server), "-", "By itself.", stdin="From a pipe.\n")
    assert ran.returncode == 0, ran.stderr
    asked = {entry["body"]["messages"][-1]["content"] for entry in server.log("m")}
    assert asked == {"From a pipe.", "By itself."}


def test_bytes_on_stdin_that_are_no_text_are_refused() -> None:
    ran = subprocess.run(
        [*PROGRAM, "run", "--backend", "scripted"],
        input=b"\xff\xfe\x00",
        capture_output=True,
        timeout=60,
        env=environment(PYTHONIOENCODING="utf-8"),
    )
    assert ran.returncode == 2
    assert b"stdin is not valid utf-8 text" in ran.stderr


def test_a_closed_stdin_is_no_text() -> None:
    ran = subprocess.run(
        ["bash", "-c", f"{' '.join(PROGRAM)} run --backend scripted Go. <&-"],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(),
    )
    assert (ran.returncode, ran.stdout) == (0, "This is a scripted answer.\n")


def test_a_program_that_waits_for_stdin_says_so() -> None:
    with subprocess.Popen(
        [*PROGRAM, "run", "--backend", "scripted", "Go."],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as waiting:
        assert waiting.stderr is not None
        assert waiting.stdin is not None
        assert b"stdin" in waiting.stderr.readline()
        waiting.stdin.close()
        assert waiting.wait(30) == 0


def test_quiet_prints_the_answer_only(server: ServerProcess) -> None:
    server.script("/api/tags", body={"models": [{"name": "m:latest"}]})
    server.script("m:latest", chunks=["The ", "answer."])
    ran = run("run", "-q", "Go.", env={"OLLAMA_HOST": server.url})
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "The answer.\n", "")


def test_quiet_prints_several_answers_whole_and_in_order(server: ServerProcess) -> None:
    slow = {"chunks": ["one\n", "two\n"], "delay": 0.2}
    server.script("m", by_prompt={"slow": slow, "quick": {"chunks": ["three"]}})
    ran = run("run", "--quiet", *ollama(server), "A slow one.", "A quick one.")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "one\ntwo\n\nthree\n", "")


def test_quiet_still_says_what_failed(server: ServerProcess) -> None:
    ran = run("run", "-q", *ollama(server, "nobody"), "Go.")
    assert (ran.returncode, ran.stdout) == (3, "")
    assert "ollama pull nobody" in ran.stderr


def in_bash(option: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program in a new bash, since completion depends on the shell that runs it."""
    program = Path(sys.executable).with_name("mellea-rx")
    return subprocess.run(
        ["bash", "-c", f"{program} {option}; true"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(**env),
    )


def test_completion_knows_the_commands_options_and_backends() -> None:
    shown = in_bash("--show-completion")
    assert shown.stderr == ""
    assert "_MELLEA_RX_COMPLETE" in shown.stdout
    assert "--install-completion" in run("--help").stdout

    def complete(words: str) -> list[str]:
        count = len(words.split()) - (not words.endswith(" "))
        env = {
            "COMP_WORDS": words,
            "COMP_CWORD": f"{count}",
            "_MELLEA_RX_COMPLETE": "complete_bash",
        }
        return run(env={**env, "_MELLEA_RX_COMPLETE": "complete_bash"}).stdout.split()

    assert complete("mellea-rx mo") == ["models"]
    assert "--max-tokens" in complete("mellea-rx run --max")
    assert complete("mellea-rx run --backend ol") == ["ollama"]


def test_more_context_than_the_model_has_is_said() -> None:
    given = ["--max-tokens", "2", "-o", "context_window=9000"]
    ran = run("run", "-q", "--backend", "local", *given, "Hello.")
    assert ran.returncode == 0, ran.stderr
    assert "-o context_window is 9000" in ran.stderr
    assert "8192 tokens" in ran.stderr


@pytest.mark.parametrize(("asked", "is_said"), [(9000, True), (8192, False)])
def test_more_context_than_a_servers_model_has_is_said(
    asked: int, is_said: bool, server: ServerProcess
) -> None:
    server.script("m", chunks=["ok"])
    server.script("/api/show", body={"model_info": {"llama.context_length": 8192, "x": "y"}})
    ran = run("run", "-q", *ollama(server), "-o", f"context_window={asked}", "Go.")
    assert (ran.returncode, ran.stdout) == (0, "ok\n")
    assert ("it works with 8192 tokens" in ran.stderr) is is_said


def test_a_server_that_does_not_tell_its_context_is_asked_all_the_same(
    server: ServerProcess,
) -> None:
    server.script("m", chunks=["ok"])
    server.script("/api/show", body={"model_info": None})
    ran = run("run", "-q", *ollama(server), "-o", "context_window=9000", "Go.")
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ok\n", "")


def test_completion_is_installed_once(tmp_path: Path) -> None:
    for _ in range(2):
        ran = in_bash("--install-completion", HOME=str(tmp_path))
        assert "installed" in ran.stdout, ran.stderr
    assert (tmp_path / ".bashrc").read_text().count("mellea-rx") == 1


def test_a_pipe_gets_accepted_text_only(server: ServerProcess) -> None:
    server.script(
        "m",
        [
            {"chunks": ["LOUD!"]},
            {"chunks": ['{"verdict": "no", "reason": "it shouts"}']},
            {"chunks": ["quiet"]},
            {"chunks": ['{"verdict": "yes", "reason": "calm"}']},
        ],
    )
    ran = run("run", *ollama(server), "-r", "It does not shout.", "--release", "live", "Go.")
    assert (ran.returncode, ran.stdout) == (0, "quiet\n")


def test_require_makes_an_unmet_requirement_an_error(server: ServerProcess) -> None:
    server.script(
        "m", by_prompt={"Decide whether": {"chunks": ["no"]}, "Go": {"chunks": ["LOUD!"]}}
    )
    ran = run("run", *ollama(server), "-r", "Calm.", "--require", "--attempts", "1", "Go.")
    assert ran.returncode == 1
    assert "no answer met the requirements in 1 attempts" in ran.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--release", "live"], "--release needs --requirement"),
        (["--attempts", "3"], "--attempts needs --requirement"),
        (["--require"], "--require needs --requirement"),
        (["-r", "x", "--release", "soon"], "--release is one of accepted, validated, live"),
        (["-r", "x", "--attempts", "0"], "--attempts must be 1 or more"),
        (["-r", " "], "--requirement is empty"),
    ],
)
def test_checks_that_cannot_be_made_are_refused(given: list[str], message: str) -> None:
    ran = run("run", "--backend", "scripted", *given, "Go.")
    assert ran.returncode == 2
    assert message in ran.stderr
