"""Attaching to services and typing into engines, on a terminal."""

from __future__ import annotations

import pexpect
import pytest

from .host import Host
from .site import Site
from .sites import MakeSite


@pytest.fixture(scope="module")
def ada(bare: Host, make_site: MakeSite) -> Site:
    """A user with a cluster of two engines under supervisord, not pinned."""
    site = make_site(bare, "ada")
    site.baremetal("--engines=2", "--service-manager=supervisor")
    return site


def on_tty(site: Site, *words: str, term: str = "xterm") -> pexpect.spawn[str]:
    """Run cncp on a terminal."""
    argv = ["env", f"TERM={term}", f"{site.home}/.local/bin/cncp", *words]
    return site.host.shell_tty(argv, site.user, timeout=30)


def test_a_prompt_in_an_engine(ada: Site) -> None:
    """The engine's variables are there, its output, results and errors come back, and it goes on afterwards."""
    before = ada.ask_engines()
    put = "import ipyparallel as i; i.Client(profile='cncp')[1].push({'a': 6}, block=True)"
    ada.python(put)
    terminal = on_tty(ada, "console", "--name", "engine-1", term="dumb")
    terminal.expect(r"In engine-1 \(id 1\)")
    terminal.expect("engine-1: ")
    terminal.sendline("print('value', a * 7)")
    terminal.expect(r"\nvalue 42\r")
    terminal.sendline("a + 1")
    terminal.expect(r"\n7\r")
    terminal.sendline("import os; os.getpid()")
    terminal.expect(rf"\n{before['1']}\r")
    terminal.sendline("1 / 0")
    terminal.expect("ZeroDivisionError")
    terminal.sendline("for n in range(2):")
    terminal.expect(r"\.\.\. ")
    terminal.sendline("    print('n', n)")
    terminal.sendline("")
    terminal.expect(r"\nn 0\r\n.*n 1\r")
    terminal.sendline("b = 'kept'")
    terminal.sendline("import time; print('begun', flush=True); time.sleep(600)")
    terminal.expect(r"\nbegun\r")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt")
    terminal.sendline("print(b)")
    terminal.expect(r"\nkept\r")
    terminal.sendline("exit")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0
    assert ada.ask_engines() == before


def test_a_prompt_on_a_terminal_that_can_more(ada: Site) -> None:
    """Where lines can be edited, they are, and Ctrl-D leaves."""
    terminal = on_tty(ada, "console", "--name", "engine-0")
    terminal.expect(r"\x1b\[.*engine-0:")
    terminal.sendline("print('value', 6 * 7)")
    terminal.expect(r"value 42\r")
    terminal.expect("engine-0:")
    terminal.sendeof()
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 0


def test_what_has_no_prompt(ada: Site) -> None:
    """A stranger and the controller are refused, each with what to do."""
    for name, status in (("controller", 2), ("engine-7", 1), ("elsewhere/engine-0", 1)):
        done = ada.cncp("console", "--name", name, check=False)
        assert done.returncode == status
        assert done.stderr.startswith("error: ")
        assert "\nhint: " in done.stderr
    assert ada.cncp("attach", "--name", "engine-9", check=False).returncode == 2


def follow(site: Site, name: str, expected: str) -> None:
    """Attach and hold that a log is followed, to Ctrl-C."""
    terminal = on_tty(site, "attach", "--name", name)
    terminal.expect(expected)
    terminal.sendintr()
    terminal.expect(pexpect.EOF)
    terminal.close()


def test_attaching_without_sessions_follows_the_log(ada: Site) -> None:
    """Under supervisord, and with systemd as files or in its journal."""
    follow(ada, "controller", "INFO Controller")
    follow(ada, "engine-0", "Completed registration with id 0")
    ada.baremetal("--service-manager=systemd", "--scope=user", "--logs=journal")
    follow(ada, "engine-0", "Completed registration with id 0")


@pytest.mark.parametrize(("manager", "leave"), [("tmux", "\x02d"), ("screen", "\x01d")])
def test_attaching_to_a_session(ada: Site, manager: str, leave: str) -> None:
    """The session is shown, leaving it leaves the service alone, and without a terminal it is refused."""
    ada.baremetal(f"--service-manager={manager}", "--logs=files")
    before = ada.ask_engines()
    terminal = on_tty(ada, "attach", "--name", "engine-0")
    terminal.expect("leave with Ctrl-")
    terminal.expect("Completed registration with id 0")
    second = on_tty(ada, "attach", "--name", "engine-0")
    second.expect("Completed registration with id 0")
    for session in (second, terminal):
        session.send(leave)
        session.expect("detached")
        session.expect(pexpect.EOF)
        session.close()
    assert ada.ask_engines() == before
    refused = ada.cncp("attach", check=False)
    assert refused.returncode == 1
    assert "needs a terminal" in refused.stderr
