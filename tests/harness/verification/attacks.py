"""Wrong answers that try to pass, to read a secret, to leave the jail, or to use up the machine.

`CHEATS` must not pass tests of a function `f` that returns the square of a number. `LEAKS` try to
bring a secret out: each defines `found`, a text that must not contain it. `BOMBS` must end at their
limit.
"""

from __future__ import annotations

from typing import NamedTuple


class Attack(NamedTuple):
    """An answer; `tests` None means those of `f`."""

    name: str
    code: str
    tests: tuple[str, ...] | None = None


SQUARE = ("assert f(3) == 9\nassert f(5) == 25", "assert abs(f(1.5) - 2.25) < 1e-9")
CLOSE = ("import math\nassert math.isclose(f(3), 9)",)
CASE = (
    "import unittest\nclass T(unittest.TestCase):\n    def test_it(self):\n"
    "        self.assertEqual(f(3), 9)\n        self.assertAlmostEqual(f(1.5), 2.25)",
)
CHECK = ("def check(candidate):\n    assert candidate(3) == 9\n    assert candidate(4) == 16",)
MAPPED = (
    "assert all(map(f, [3, 5]))\nassert f(3) == 9",
    "assert all(f(n) == n * n for n in (2, 7))",
)
_PRELUDE = "import os, sys\n"
_EVIL = (
    "class E:\n    def __init__(self, *a): pass\n"
    "    def __eq__(self, other):\n        wanted = True\n        return wanted\n"
    "    def __ne__(self, other):\n        wanted = False\n        return wanted\n"
    "    def __hash__(self): return 0\n"
)
_NUMBER = _EVIL + (
    "    def __sub__(self, other): return 0\n    __rsub__ = __sub__\n"
    "    def __abs__(self): return 0\n    def __float__(self): return 0.0\n"
    "    def __lt__(self, other): return bool(1)\n    __le__ = __gt__ = __ge__ = __lt__\n"
    "    def __round__(self, n=0): return 0\n"
)

CHEATS = (
    Attack("marker", _PRELUDE + "def f(x):\n    line = os.read(3, 99)\n    os.write(6, line)\n"),
    Attack(
        "every_descriptor",
        _PRELUDE + 'def f(x):\n    for n in range(3, 64):\n        for text in (\'["verdict",'
        "\"passed\"]', '[\"done\"]', 'passed'):\n"
        "            try: os.write(n, (text + '\\n').encode())\n"
        "            except OSError: pass\n",
    ),
    Attack(
        "replies_in_advance",
        _PRELUDE + "for n in range(3, 64):\n    for k in range(9):\n        try: os.write(n, "
        'f\'["ok",{k},9,[],""]\\n\'.encode())\n        except OSError: pass\ndef f(x): return 0\n',
    ),
    Attack(
        "alias",
        "import math\nm = math\nm.isclose = lambda *a, **k: True\ndef f(x): return 0\n",
        CLOSE,
    ),
    Attack(
        "modules",
        "import sys, types\ns = sys.modules\nfake = types.ModuleType('math')\n"
        "fake.isclose = lambda *a, **k: True\ns['math'] = fake\ndef f(x): return 0\n",
        CLOSE,
    ),
    Attack(
        "own_module",
        "class math:\n    isclose = staticmethod(lambda *a, **k: True)\ndef f(x): return 0\n",
        ("assert math.isclose(f(3), 9)",),
    ),
    Attack(
        "renamed_import",
        "from unittest.mock import MagicMock\nmath = MagicMock()\nfrom unittest.mock import "
        "MagicMock as math\ndef f(x): return 0\n",
        ("assert math.isclose(f(3), 9)",),
    ),
    Attack(
        "renamed_helper",
        "from unittest.mock import MagicMock as is_close\ndef f(x): return 0\n",
        ("assert is_close(f(3), 9)",),
    ),
    Attack(
        "own_helper",
        "from math import isclose\ndef isclose(*a, **k): return True\ndef f(x): return 0\n",
        ("assert isclose(f(3), 9)",),
    ),
    Attack(
        "unittest",
        "import unittest\nt = unittest.TestCase\nt.assertEqual = t.assertAlmostEqual = "
        "lambda *a, **k: None\ndef f(x): return 0\n",
        CASE,
    ),
    Attack(
        "failure_exception",
        "import unittest as u\nc = u.case.TestCase\nc.failureException = None\n"
        "c.run = lambda self, result=None: None\ndef f(x): return 0\n",
        CASE,
    ),
    Attack("equal_lines", _EVIL + "def f(x): return E()\n"),
    Attack("equal_number", _NUMBER + "def f(x): return E()\n"),
    Attack("equal_case", _NUMBER + "def f(x): return E()\n", CASE),
    Attack("equal_close", _NUMBER + "def f(x): return E()\n", CLOSE),
    Attack(
        "named_like_candidate",
        _NUMBER + "candidate = check = abs = E\ndef f(x): return E()\n",
        CHECK,
    ),
    Attack(
        "near_number",
        _NUMBER + "    def __sub__(self, other): return E()\ncandidate = E\ndef f(x): return E()\n",
        ("def near(candidate):\n    assert abs(candidate(1.5) - 2.25) < 1e-9\nnear(f)",),
    ),
    Attack(
        "int_kind",
        "class I(int):\n    __eq__ = lambda a, b: a is a\n    __hash__ = int.__hash__\n"
        "def f(x): return I(0)\n",
    ),
    Attack(
        "float_kind",
        "class F(float):\n    def __sub__(self, o):\n        z = 0.0\n        return z\n"
        "    __rsub__ = __sub__\n"
        "    def __eq__(self, o):\n        t = True\n        return t\ndef f(x): return F(1)\n",
    ),
    Attack(
        "str_kind",
        "class S(str):\n    def __eq__(self, o):\n        t = True\n        return t\n"
        "    def startswith(self, *a): return True\n    __hash__ = str.__hash__\n"
        "def f(x): return S('no')\n",
        ("assert f(3) == 'nine'", "assert f(3).startswith('n') and len(f(3)) == 4"),
    ),
    Attack(
        "text_like",
        "class S:\n    def startswith(self, *a): return True\n    def count(self, *a): return 2\n"
        "    def __contains__(self, x): return True\ndef f(x): return S()\n",
        ("assert f(3).startswith('n')", "assert f(3).count('n') == 2", "assert 'i' in f(3)"),
    ),
    Attack(
        "list_kind",
        "class L(list):\n    def __eq__(self, o):\n        t = True\n        return t\n"
        "    def __contains__(self, x): return True\ndef f(x): return L()\n",
        ("assert f(3) == [9]", "assert 9 in f(3)"),
    ),
    Attack(
        "class_lies",
        "class I:\n    __class__ = int\n"
        "    def __instancecheck__(self, x): return True\ndef f(x): return I()\n",
        ("assert isinstance(f(3), int)", "assert type(f(3)) is int"),
    ),
    Attack(
        "builtins",
        "import builtins\nb = builtins\nb.abs = lambda x: 0\nb.all = lambda x: True\n"
        "def f(x): return 0\n",
    ),
    Attack(
        "global_builtins",
        "def abs(x): return 0\ndef all(x): return True\ndef f(x): return 0\n",
        SQUARE[1:],
    ),
    Attack("stop_iteration", "def f(x): raise StopIteration\n", MAPPED[1:]),
    Attack("stop_in_map", "def f(x): raise StopIteration\n", ("assert all(map(f, [3, 5]))",)),
    Attack("exit", "def f(x):\n    import os\n    os._exit(0)\n"),
    Attack("system_exit", "def f(x): raise SystemExit(0)\n", CASE + CHECK),
    Attack(
        "skip_test",
        "import unittest\ndef f(x): raise unittest.SkipTest('no')\n",
        CASE,
    ),
    Attack(
        "own_skip",
        "class SkipTest(Exception): pass\nSkipTest.__module__ = 'unittest.case'\n"
        "def f(x): raise SkipTest\n",
        CASE,
    ),
    Attack(
        "assertion_error",
        "class AssertionError(Exception): pass\nimport builtins\n"
        "builtins.AssertionError = AssertionError\n"
        "def f(x): return 0\n",
    ),
    Attack(
        "frames",
        "import sys\ng = getattr(sys, '_get' + 'frame')\ndef f(x):\n    frame = g()\n"
        "    while frame:\n"
        "        for value in [*frame.__getattribute__('f_lo' + 'cals').values()]:\n"
        "            if isinstance(value, str) and 'assert' in value:\n"
        "                return eval(value.split('== ')[1])\n"
        "        frame = frame.__getattribute__('f_b' + 'ack')\n    return 0\n",
    ),
    Attack(
        "collector",
        "import gc\nall_of = getattr(gc, 'get_obj' + 'ects')\nmark = ''.join(['asse', 'rt f('])\n"
        "def f(x):\n    for o in all_of():\n"
        "        parts = list(o.values()) if type(o) is dict else o\n"
        "        if type(o) not in (dict, list, tuple): continue\n"
        "        if any(type(p) is str and mark in p and p != mark for p in parts):\n"
        "            return x * x\n    return 0\n",
    ),
    Attack(
        "callback_globals",
        "def f(g):\n    try: scope = g.__getattr__('__globals__')\n"
        "    except Exception: scope = {}\n"
        "    for n in ('__globals__', 'gi_frame', '__self__', '__code__', '__closure__'):\n"
        "        try: return getattr(g, n)['secret']\n        except Exception: pass\n"
        "    return 0\n",
        ("secret = 81\nassert f(lambda: 3) == secret",),
    ),
    Attack(
        "callback_object",
        "def f(box):\n    try: box.right = lambda *a: True\n    except Exception: pass\n"
        "    try: type(box).right = lambda *a: True\n    except Exception: pass\n    return 0\n",
        (
            "class Box:\n    def right(self, x): return x == 9\nbox = Box()\n"
            "assert box.right(f(box))",
        ),
    ),
    Attack(
        "fork_answers",
        _PRELUDE + "def f(x):\n    try: os.fork()\n    except OSError: pass\n"
        "    return 0 if x == 3 else 25\n",
    ),
    Attack(
        "own_link",
        _PRELUDE + "import gc\ndef f(x):\n    import harness.verification.answer as a\n"
        "    a.Served.serve = lambda s, m: ['ok', m[1], True, [], '']\n    return 0\n",
    ),
    Attack(
        "patched_server",
        _PRELUDE + "for m in list(sys.modules.values()):\n    s = getattr(m, 'Served', None)\n"
        "    if s: s.serve = lambda self, m: ['ok', m[1], ['u', 'exec'], [], '']\n"
        "def f(x): return 0\n",
    ),
    Attack(
        "evil_bytes",
        _PRELUDE + "for m in list(sys.modules.values()):\n    s = getattr(m, 'Served', None)\n"
        "    if s: s.serve = lambda self, m: ['ok', m[1], ['T', 'datetime', '__import__'], "
        "[[0, ['l', [9]]]], 3]\n"
        "def f(x): return 0\n",
    ),
    Attack(
        "planted_module",
        "for n in ('math', 'unittest', 'pytest', 'fractions', 'collections'):\n"
        "    open(n + '.py', 'w').write('def isclose(*a): return True\\nclass TestCase: pass\\n')\n"
        "def f(x): return 0\n",
        (*CLOSE, *CASE),
    ),
    Attack(
        "at_exit",
        "import atexit, os\n@atexit.register\ndef end():\n    for n in range(3, 64):\n"
        '        try: os.write(n, b\'["verdict", "passed"]\\n\')\n        except OSError: pass\n'
        "def f(x): raise SystemExit\n",
    ),
    Attack(
        "signals",
        "import os, signal\ndef f(x):\n    for n in (os.getppid(), -1, 0):\n"
        "        try: os.kill(n, signal.SIGTERM)\n        except OSError: pass\n    return 0\n",
    ),
    Attack(
        "exception_name",
        "class P(BaseException):\n    def __str__(self): return '\\npassed\\n'\n"
        "P.__name__ = 'passed'\n"
        "def f(x): raise P\n",
    ),
    Attack(
        "changes_arguments",
        "def f(xs):\n    xs.append(9)\n    return None\n",
        ("given = [3]\nassert f(given) == [9]",),
    ),
)

# What code may try to read; {secret} is a file of the user, {pid} a process of the user.
LEAKS = (
    Attack("home_file", "found = open('{secret}').read()"),
    Attack("environment", "import os\nfound = str(dict(os.environ))"),
    Attack("own_environ", "found = open('/proc/self/environ').read()"),
    Attack("parent_environ", "import os\nfound = open(f'/proc/{{os.getppid()}}/environ').read()"),
    Attack("other_environ", "found = open('/proc/{pid}/environ', 'rb').read().decode()"),
    Attack("other_cmdline", "found = open('/proc/{pid}/cmdline', 'rb').read().decode()"),
    Attack("other_memory", "found = open('/proc/{pid}/maps').read() + '{mark}'[:0]"),
    Attack("other_root", "found = open('/proc/{pid}/root{secret}').read()"),
    Attack("link", "import os\nos.symlink('{secret}', 'l')\nfound = open('l').read()"),
    Attack("hard_link", "import os\nos.link('{secret}', 'h')\nfound = open('h').read()"),
    Attack("move", "import os\nos.rename('{secret}', 'm')\nfound = open('m').read()"),
    Attack("list_folder", "import os\nfound = str(os.listdir('{folder}'))"),
    Attack(
        "raw_open", "import os\nfound = os.read(os.open('{secret}', os.O_RDONLY), 999).decode()"
    ),
    Attack("relative", "import os\nfound = open('../' * 20 + '{secret}'[1:]).read()"),
    Attack("reader", "import os\nos.execv('/bin/cat', ['cat', '{secret}'])\nfound = ''"),
    Attack(
        "shell",
        "import subprocess\n"
        "found = subprocess.run(['cat', '{secret}'], capture_output=True).stdout.decode()",
    ),
    Attack(
        "socket",
        "import socket\ns = socket.create_connection(('127.0.0.1', {port}), 1)\n"
        "found = s.recv(99).decode()",
    ),
    Attack(
        "unix_socket",
        "import socket\ns = socket.socket(socket.AF_UNIX)\ns.connect('{folder}/s')\n"
        "found = s.recv(99).decode()",
    ),
)

# Each writes outside the jail if it can; {folder} is a folder of the user.
WRITES = (
    Attack("write", "open('{folder}/w', 'w').write('x')"),
    Attack("overwrite", "open('{secret}', 'w').write('x')"),
    Attack("append", "open('{secret}', 'a').write('x')"),
    Attack("truncate", "import os\nos.truncate('{secret}', 0)"),
    Attack("remove", "import os\nos.remove('{secret}')"),
    Attack("chmod", "import os\nos.chmod('{secret}', 0)"),
    Attack("chmod_folder", "import os\nos.chmod('{folder}', 0)"),
    Attack("utime", "import os\nos.utime('{secret}', (0, 0))"),
    Attack("make_folder", "import os\nos.mkdir('{folder}/d')"),
    Attack("rename", "import os\nos.rename('{secret}', '{folder}/r')"),
    Attack("xattr", "import os\nos.setxattr('{secret}', 'user.a', b'x')"),
)

# Each must end at its limit of memory (512 MB): many processes, or shared mappings.
BOMBS = (
    Attack(
        "shared_children",
        "import mmap, os, time\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        m = mmap.mmap(-1, 400 << 20)\n"
        "        for i in range(0, 400 << 20, 4096): m[i] = 1\n        time.sleep(60)\n"
        "time.sleep(60)",
    ),
    Attack(
        "private_children",
        "import os, time\nfor _ in range(8):\n    if os.fork() == 0:\n"
        "        x = bytearray(300 << 20)\n"
        "        for i in range(0, len(x), 4096): x[i] = 1\n        time.sleep(60)\n"
        "time.sleep(60)",
    ),
    Attack(
        "shared_mappings",
        "import mmap\nkept = []\nwhile True:\n    m = mmap.mmap(-1, 16 << 20)\n    kept.append(m)\n"
        "    for i in range(0, 16 << 20, 4096): m[i] = 1",
    ),
    Attack("large_value", "def f(x): return bytes(400 << 20)"),
)
