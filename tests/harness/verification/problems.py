"""Problems with tests in the shape of HumanEval, pytest or unittest, a right and a wrong answer."""

from __future__ import annotations

from typing import NamedTuple


class Problem(NamedTuple):
    """A test script, the name that `check` receives, and two answers."""

    name: str
    tests: str
    right: str
    wrong: str


METADATA = "\n\nMETADATA = {\n    'author': 'crucible',\n    'dataset': 'test'\n}\n\n\n"

PROBLEMS = (
    Problem(
        "double_all",
        METADATA + "def check(candidate):\n    assert candidate([1, 2]) == [2, 4]\n"
        "    assert candidate([]) == []\n",
        "from typing import List\n\ndef double_all(xs: List[int]) -> List[int]:\n"
        "    return [2 * x for x in xs]\n",
        "def double_all(xs):\n    return [x + x for x in xs[:1]]\n",
    ),
    Problem(
        "mean_gap",
        METADATA + "def check(candidate):\n"
        "    assert abs(candidate([1.0, 2.0, 4.5]) - 1.75) < 1e-6\n"
        "    assert candidate([3.0]) is None\n",
        "def mean_gap(xs):\n    gaps = [b - a for a, b in zip(xs, xs[1:])]\n"
        "    return sum(gaps) / len(gaps) if gaps else None\n",
        "def mean_gap(xs):\n    return (xs[-1] - xs[0]) / len(xs) if xs[1:] else None\n",
    ),
    Problem(
        "find_root",
        METADATA + "def check(candidate):\n    import math\n    import random\n"
        "    rng = random.Random(7)\n    for _ in range(20):\n"
        "        a = rng.uniform(1, 50)\n        assert math.fabs(candidate(a) ** 2 - a) < 1e-6\n",
        "def helper(x, a):\n    return (x + a / x) / 2\n\ndef find_root(a):\n    x = a\n"
        "    for _ in range(60):\n        x = helper(x, a)\n    return x\n",
        "def helper(x, a):\n    return (x + a / x) / 2\n\ndef find_root(a):\n"
        "    return helper(a, a)\n",
    ),
    Problem(
        "rotate",
        METADATA + "def check(candidate):\n    given = [1, 2, 3, 4]\n"
        "    assert candidate(given, 1) is None\n    assert given == [4, 1, 2, 3], given\n",
        "def rotate(xs, k):\n    for _ in range(k):\n        xs.insert(0, xs.pop())\n",
        "def rotate(xs, k):\n    xs = xs[-k:] + xs[:-k]\n",
    ),
    Problem(
        "decode",
        METADATA + "from random import choice, seed\nimport string\n\n"
        "def check(candidate):\n    seed(3)\n    for _ in range(10):\n"
        "        text = ''.join(choice(string.ascii_lowercase) for _ in range(8))\n"
        "        assert candidate(encode(text)) == text\n",
        "def encode(s):\n    return s[::-1]\n\ndef decode(s):\n    return encode(s)\n",
        "def encode(s):\n    return s[::-1]\n\ndef decode(s):\n    return s\n",
    ),
    Problem(
        "split_words",
        METADATA + "def check(candidate):\n"
        "    assert candidate('a  b') == ['a', 'b'], 'blanks'\n"
        "    try:\n        candidate(3)\n    except TypeError:\n        pass\n"
        "    else:\n        assert False\n",
        "def split_words(s):\n    if not isinstance(s, str):\n        raise TypeError(s)\n"
        "    return s.split()\n",
        "def split_words(s):\n    return str(s).split()\n",
    ),
    Problem(
        "tally",
        METADATA + "def check(candidate):\n    found = candidate('abca')\n"
        "    assert found == {'a': 2, 'b': 1, 'c': 1}\n    assert found['a'] == 2\n"
        "    assert sorted(found) == ['a', 'b', 'c']\n",
        "from collections import Counter\n\ndef tally(s):\n    return Counter(s)\n",
        "from collections import Counter\n\ndef tally(s):\n    return Counter(set(s))\n",
    ),
    Problem(
        "fib",
        METADATA + "def check(candidate):\n"
        "    assert [candidate(n) for n in range(8)] == [0, 1, 1, 2, 3, 5, 8, 13]\n"
        "    assert candidate(300) % 10**9 == 126800600 or candidate(300) > 10**61\n",
        "from functools import lru_cache\n\n@lru_cache(None)\ndef fib(n):\n"
        "    return n if n < 2 else fib(n - 1) + fib(n - 2)\n",
        "def fib(n):\n    return n if n < 2 else fib(n - 1) + n - 2\n",
    ),
    Problem(
        "evens",
        METADATA + "def check(candidate):\n    stream = candidate(6)\n"
        "    assert next(stream) == 0\n    assert list(stream) == [2, 4]\n",
        "def evens(n):\n    yield from range(0, n, 2)\n",
        "def evens(n):\n    yield from range(0, n + 1, 2)\n",
    ),
    Problem(
        "apply_twice",
        METADATA + "def check(candidate):\n    assert candidate(lambda x: x * 3, 2) == 18\n"
        "    assert candidate(str.upper, 'a') == 'A'\n",
        "def apply_twice(f, x):\n    return f(f(x))\n",
        "def apply_twice(f, x):\n    return f(x) * 3 if isinstance(x, int) else x\n",
    ),
    Problem(
        "",
        "import pytest\n\n@pytest.mark.parametrize('n, expected', [(0, 1), (3, 6), (5, 120)])\n"
        "def test_values(n, expected):\n    assert factorial(n) == expected\n\n"
        "def test_negative():\n    with pytest.raises(ValueError, match='negative'):\n"
        "        factorial(-1)\n",
        "def factorial(n):\n    if n < 0:\n        raise ValueError('negative')\n"
        "    return 1 if n == 0 else n * factorial(n - 1)\n",
        "def factorial(n):\n    return 1 if n <= 0 else n * factorial(n - 1)\n",
    ),
    Problem(
        "",
        "from candidate import area\nimport pytest\n\n@pytest.fixture\ndef sides():\n"
        "    return (2, 3)\n\nclass TestArea:\n    def test_product(self, sides):\n"
        "        assert area(*sides) == pytest.approx(6.0)\n",
        "def area(a, b):\n    return a * b * 1.0000000001\n",
        "def area(a, b):\n    return a + b + 0.9\n",
    ),
    Problem(
        "",
        "import unittest\n\nclass Tests(unittest.TestCase):\n    def setUp(self):\n"
        "        self.stack = Stack()\n\n    def test_order(self):\n        self.stack.push(1)\n"
        "        self.stack.push(2)\n        self.assertEqual(len(self.stack), 2)\n"
        "        self.assertEqual(self.stack.pop(), 2)\n\n    def test_empty(self):\n"
        "        with self.assertRaises(IndexError):\n            self.stack.pop()\n\n"
        "if __name__ == '__main__':\n    unittest.main()\n",
        "class Stack:\n    def __init__(self):\n        self.items = []\n"
        "    def push(self, x):\n        self.items.append(x)\n"
        "    def pop(self):\n        return self.items.pop()\n"
        "    def __len__(self):\n        return len(self.items)\n",
        "class Stack(list):\n    push = list.append\n    def pop(self):\n"
        "        return list.pop(self, 0) if self else None\n",
    ),
    Problem(
        "",
        "if __name__ == '__main__':\n    import unittest\n\n    class T(unittest.TestCase):\n"
        "        def test_error(self):\n            with self.assertRaises(TooLow) as caught:\n"
        "                withdraw(5, 9)\n"
        "            self.assertEqual(caught.exception.missing, 4)\n"
        "            self.assertTrue(issubclass(TooLow, ValueError))\n\n    unittest.main()\n",
        "class TooLow(ValueError):\n    def __init__(self, missing):\n"
        "        super().__init__(f'{missing} missing')\n        self.missing = missing\n\n"
        "def withdraw(have, want):\n    if want > have:\n        raise TooLow(want - have)\n",
        "class TooLow(ValueError):\n    missing = 3\n\ndef withdraw(have, want):\n"
        "    raise TooLow\n",
    ),
    Problem(
        "",
        "import asyncio\n\nasync def test_sum():\n    assert await total([1, 2, 3]) == 6\n\n"
        "def test_many():\n    async def both():\n"
        "        return await asyncio.gather(total([1]), total([2, 2]))\n"
        "    assert asyncio.run(both()) == [1, 4]\n",
        "import asyncio\n\nasync def total(xs):\n    await asyncio.sleep(0)\n    return sum(xs)\n",
        "async def total(xs):\n    return max(xs)\n",
    ),
    Problem(
        "",
        "p = Point(1, 2)\nassert p + Point(1, 1) == Point(2, 3)\nassert p.x == 1\n"
        "assert repr(p) == 'Point(x=1, y=2)'\nassert p in {Point(1, 2)}\n"
        "assert p * 2 == Point(2, 4)",
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Point:\n    x: int\n"
        "    y: int\n    def __add__(self, o):\n        return Point(self.x + o.x, self.y + o.y)\n"
        "    def __mul__(self, k):\n        return Point(self.x * k, self.y * k)\n",
        "from dataclasses import dataclass\n\n@dataclass(frozen=True)\nclass Point:\n    x: int\n"
        "    y: int\n    def __add__(self, o):\n        return Point(self.x + o.x, self.y)\n"
        "    def __mul__(self, k):\n        return Point(self.x * k, self.y * k)\n",
    ),
    Problem(
        "",
        "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\n"
        "with redirect_stdout(out):\n    greet('Ada')\nassert out.getvalue() == 'Hello, Ada\\n'",
        "def greet(name):\n    print('Hello, ' + name)\n",
        "def greet(name):\n    print('Hello,', name, end='')\n",
    ),
    Problem(
        "",
        "from fractions import Fraction\nfrom datetime import date\n"
        "assert half(Fraction(1, 3)) == Fraction(1, 6)\n"
        "assert next_day(date(2024, 2, 28)) == date(2024, 2, 29)\n"
        "assert corners() == {(0, 0), (0, 1)}\nassert isinstance(corners(), set)",
        "from datetime import timedelta\n\ndef half(x):\n    return x / 2\n\ndef next_day(d):\n"
        "    return d + timedelta(days=1)\n\ndef corners():\n    return {(0, 0), (0, 1)}\n",
        "from datetime import timedelta\n\ndef half(x):\n    return float(x) / 2\n\n"
        "def next_day(d):\n    return d + timedelta(days=2)\n\ndef corners():\n"
        "    return [(0, 0), (0, 1)]\n",
    ),
    Problem(
        "",
        "class Node:\n    def __init__(self, value, next=None):\n"
        "        self.value, self.next = value, next\n\ndef values(node):\n    found = []\n"
        "    while node:\n        found.append(node.value)\n        node = node.next\n"
        "    return found\n\nassert values(reverse(Node(1, Node(2, Node(3))))) == [3, 2, 1]\n"
        "assert reverse(None) is None",
        "def reverse(node):\n    before = None\n    while node:\n"
        "        node.next, before, node = before, node, node.next\n    return before\n",
        "def reverse(node):\n    if node is not None:\n        node.next = None\n    return node\n",
    ),
    Problem(
        "Solution().two_sum",
        "def check(candidate):\n    assert candidate([2, 7, 11], target=9) == [0, 1]\n"
        "    assert candidate(nums=[3, 3], target=6) == [0, 1]\n",
        "class Solution:\n    def two_sum(self, nums, target):\n        seen = {}\n"
        "        for n, x in enumerate(nums):\n            if target - x in seen:\n"
        "                return [seen[target - x], n]\n            seen[x] = n\n",
        "class Solution:\n    def two_sum(self, nums, target):\n        return [0, 0]\n",
    ),
)
