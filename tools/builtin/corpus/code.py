"""Small programs: a task, its wording, and its text in several languages."""

from . import noise, tables
from .text import expand

# task: (wordings, {language: code}); NAME and W stand for a drawn identifier and word.
TASKS = [
    ("{prints|that prints|printing|to print} {hello world|hello, world|Hello World|a greeting}|hello world", {
        "Go": 'package main\n\nimport "fmt"\n\nfunc main() {\n\tfmt.Println("Hello, world!")\n}', "Python": 'print("Hello, world!")', "Bash": '#!/bin/sh\necho "Hello, world!"', "JavaScript": 'console.log("Hello, world!");', "C": '#include <stdio.h>\n\nint main(void) {\n    printf("Hello, world!\\n");\n    return 0;\n}', "Rust": 'fn main() {\n    println!("Hello, world!");\n}'}),
    ("{that adds|to add|adding|which adds|for adding} {two numbers|two integers|a and b|numbers}|{sum of|add} two numbers|addition", {
        "Go": "func add(a, b int) int {\n\treturn a + b\n}", "Python": "def add(a, b):\n    return a + b", "JavaScript": "function add(a, b) {\n  return a + b;\n}", "C": "int add(int a, int b) {\n    return a + b;\n}", "Rust": "fn add(a: i32, b: i32) -> i32 {\n    a + b\n}"}),
    ("{that multiplies|to multiply|multiplying} {two numbers|numbers|a and b}", {
        "Go": "func multiply(a, b int) int {\n\treturn a * b\n}", "Python": "def multiply(a, b):\n    return a * b", "JavaScript": "function multiply(a, b) {\n  return a * b;\n}"}),
    ("{that reverses|to reverse|reversing|for reversing} {a string|text|a word}|string reversal", {
        "Go": "func reverse(s string) string {\n\tr := []rune(s)\n\tfor i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {\n\t\tr[i], r[j] = r[j], r[i]\n\t}\n\treturn string(r)\n}", "Python": "def reverse(s):\n    return s[::-1]", "JavaScript": 'function reverse(s) {\n  return [...s].reverse().join("");\n}'}),
    ("{for|that computes|to compute|computing|of|calculating} {the factorial|factorials|n factorial|the factorial of n|a factorial}|factorial", {
        "Go": "func factorial(n int) int {\n\tif n <= 1 {\n\t\treturn 1\n\t}\n\treturn n * factorial(n-1)\n}", "Python": "def factorial(n):\n    if n <= 1:\n        return 1\n    return n * factorial(n - 1)", "JavaScript": "function factorial(n) {\n  return n <= 1 ? 1 : n * factorial(n - 1);\n}"}),
    ("{for|that computes|to compute|that prints|of} {fibonacci numbers|the fibonacci sequence|fibonacci|the nth fibonacci number|Fibonacci}|fibonacci", {
        "Go": "func fibonacci(n int) int {\n\ta, b := 0, 1\n\tfor i := 0; i < n; i++ {\n\t\ta, b = b, a+b\n\t}\n\treturn a\n}", "Python": "def fibonacci(n):\n    a, b = 0, 1\n    for _ in range(n):\n        a, b = b, a + b\n    return a", "JavaScript": "function fibonacci(n) {\n  let a = 0, b = 1;\n  for (let i = 0; i < n; i++) [a, b] = [b, a + b];\n  return a;\n}"}),
    ("{that tells|to check|checking|that checks} {whether|if} a number is {even|even or odd|odd}|even numbers check", {
        "Go": "func isEven(n int) bool {\n\treturn n%2 == 0\n}", "Python": "def is_even(n):\n    return n % 2 == 0", "JavaScript": "function isEven(n) {\n  return n % 2 === 0;\n}"}),
    ("{that tells|to check|checking|that checks|testing} {whether|if} a number is {prime|a prime}|prime test|{for|finding} prime numbers", {
        "Go": "func isPrime(n int) bool {\n\tif n < 2 {\n\t\treturn false\n\t}\n\tfor d := 2; d*d <= n; d++ {\n\t\tif n%d == 0 {\n\t\t\treturn false\n\t\t}\n\t}\n\treturn true\n}", "Python": "def is_prime(n):\n    if n < 2:\n        return False\n    for d in range(2, int(n ** 0.5) + 1):\n        if n % d == 0:\n            return False\n    return True"}),
    ("{that finds|to find|returning|finding|that returns} the {largest|maximum|biggest|max} {number|element|value} {of|in} {a list|a slice|an array}|maximum of a list", {
        "Go": "func largest(xs []int) int {\n\tbest := xs[0]\n\tfor _, x := range xs[1:] {\n\t\tif x > best {\n\t\t\tbest = x\n\t\t}\n\t}\n\treturn best\n}", "Python": "def largest(xs):\n    best = xs[0]\n    for x in xs[1:]:\n        if x > best:\n            best = x\n    return best"}),
    ("{that sums|to sum|summing|that adds up} {a list|a slice|a list of numbers|an array|numbers in a list}|sum of a list", {
        "Go": "func sum(xs []int) int {\n\ttotal := 0\n\tfor _, x := range xs {\n\t\ttotal += x\n\t}\n\treturn total\n}", "Python": "def total(xs):\n    result = 0\n    for x in xs:\n        result += x\n    return result", "JavaScript": "function sum(xs) {\n  return xs.reduce((a, b) => a + b, 0);\n}"}),
    ("{that prints|printing|to print|counting|that counts} {the numbers|numbers|} {from 1 to 10|1 to 10|from one to ten|up to ten}|{a for loop|a loop|for loop|loop}", {
        "Go": "for i := 1; i <= 10; i++ {\n\tfmt.Println(i)\n}", "Python": "for i in range(1, 11):\n    print(i)", "JavaScript": "for (let i = 1; i <= 10; i++) {\n  console.log(i);\n}", "Bash": "for i in $(seq 1 10); do\n  echo \"$i\"\ndone", "C": 'for (int i = 1; i <= 10; i++) {\n    printf("%d\\n", i);\n}'}),
    ("{fizzbuzz|FizzBuzz|fizz buzz|for fizzbuzz|that plays fizzbuzz}", {
        "Go": 'for i := 1; i <= 100; i++ {\n\tswitch {\n\tcase i%15 == 0:\n\t\tfmt.Println("FizzBuzz")\n\tcase i%3 == 0:\n\t\tfmt.Println("Fizz")\n\tcase i%5 == 0:\n\t\tfmt.Println("Buzz")\n\tdefault:\n\t\tfmt.Println(i)\n\t}\n}', "Python": 'for i in range(1, 101):\n    if i % 15 == 0:\n        print("FizzBuzz")\n    elif i % 3 == 0:\n        print("Fizz")\n    elif i % 5 == 0:\n        print("Buzz")\n    else:\n        print(i)'}),
    ("{that reads|to read|reading|for reading} {a file|a text file|a file line by line|a file's content}|file reading", {
        "Go": 'data, err := os.ReadFile("input.txt")\nif err != nil {\n\tlog.Fatal(err)\n}\nfmt.Println(string(data))', "Python": 'with open("input.txt") as f:\n    for line in f:\n        print(line.strip())', "Bash": 'while read -r line; do\n  echo "$line"\ndone < input.txt'}),
    ("{that counts|to count|counting} {words|the words|words in a text|the words of a text}|word count", {
        "Go": "func countWords(s string) int {\n\treturn len(strings.Fields(s))\n}", "Python": "def count_words(text):\n    return len(text.split())", "Bash": "wc -w input.txt"}),
    ("{that greets|to greet|greeting} {a user|someone|a person by name|people|a person}", {
        "Go": 'func greet(name string) string {\n\treturn "Hello, " + name + "!"\n}', "Python": 'def greet(name):\n    return f"Hello, {name}!"', "JavaScript": "function greet(name) {\n  return `Hello, ${name}!`;\n}"}),
    ("{that sorts|to sort|sorting|for sorting} {a list|numbers|a slice|an array}|sorting", {
        "Go": "xs := []int{3, 1, 2}\nslices.Sort(xs)\nfmt.Println(xs)", "Python": "xs = [3, 1, 2]\nxs.sort()\nprint(xs)", "JavaScript": "const xs = [3, 1, 2];\nxs.sort((a, b) => a - b);\nconsole.log(xs);"}),
    ("{for|that starts|to start|of} {a web server|an http server|a small web server|an HTTP server}|http server", {
        "Go": 'package main\n\nimport (\n\t"fmt"\n\t"net/http"\n)\n\nfunc main() {\n\thttp.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {\n\t\tfmt.Fprintln(w, "Hello!")\n\t})\n\thttp.ListenAndServe(":8080", nil)\n}', "Python": "from http.server import HTTPServer, SimpleHTTPRequestHandler\n\nHTTPServer((\"\", 8080), SimpleHTTPRequestHandler).serve_forever()"}),
    ("{that calls|to call|calling|that talks to|using|to query} {weir|the weir api|a weir server|weir's API|the OpenAI API of weir|the chat API}", {
        "Python": 'from openai import OpenAI\n\nclient = OpenAI(base_url="http://localhost:%PORT%/v1", api_key="none")\nreply = client.chat.completions.create(\n    model="weir-mini",\n    messages=[{"role": "user", "content": "Hello!"}],\n)\nprint(reply.choices[0].message.content)', "Bash": 'curl http://localhost:%PORT%/v1/chat/completions \\\n  -H "Content-Type: application/json" \\\n  -d \'{"messages": [{"role": "user", "content": "Hello!"}]}\''}),
    ("{that streams|to stream|streaming} {tokens|an answer|answers from weir|tokens from weir|a chat answer|a reply}", {
        "Python": 'from openai import OpenAI\n\nclient = OpenAI(base_url="http://localhost:%PORT%/v1", api_key="none")\nstream = client.chat.completions.create(\n    model="weir-mini",\n    messages=[{"role": "user", "content": "Hello!"}],\n    stream=True,\n)\nfor chunk in stream:\n    print(chunk.choices[0].delta.content or "", end="")'}),
    ("{that swaps|to swap|swapping} two {variables|values|numbers}", {
        "Go": "a, b = b, a", "Python": "a, b = b, a", "C": "int tmp = a;\na = b;\nb = tmp;"}),
    ("{for|of|defining|with} a {struct|class|type} {for a user|for a person|Person|User|with name and age|person}", {
        "Go": "type Person struct {\n\tName string\n\tAge  int\n}", "Python": "class Person:\n    def __init__(self, name, age):\n        self.name = name\n        self.age = age"}),
    ("{that checks|to check|checking} {whether|if} {a word|a string|text} is a palindrome|palindrome check", {
        "Python": "def is_palindrome(s):\n    return s == s[::-1]", "Go": "func isPalindrome(s string) bool {\n\tfor i, j := 0, len(s)-1; i < j; i, j = i+1, j-1 {\n\t\tif s[i] != s[j] {\n\t\t\treturn false\n\t\t}\n\t}\n\treturn true\n}"}),
    ("{that selects|to select|selecting|to get} {all users|users older than 30|users from a table|all rows}|select query", {"SQL": "SELECT name, age\nFROM users\nWHERE age > 30\nORDER BY name;"}),
    ("{that waits for|to wait for|waiting for} {the server|weir|weir to be ready|the server to be ready}", {"Bash": "until curl -sf http://localhost:%PORT%/ready; do\n  sleep 1\ndone\necho ready"}),
]
SPOKEN = {"Go": "{Go|go|golang|Golang}", "Python": "{Python|python|python 3}", "Bash": "{bash|shell|Bash|sh}", "JavaScript": "{JavaScript|javascript|js|node}", "C": "{C|c}", "Rust": "{Rust|rust}", "SQL": "{SQL|sql}"}
FENCE = {"Go": "go", "Python": "python", "Bash": "bash", "JavaScript": "javascript", "C": "c", "Rust": "rust", "SQL": "sql"}
KINDS = "{function|program|script|snippet|piece of code|example|code|short program|method|small function|little program}"
WRITE = "{write|show|give|make|create|i need|can you write|could you write|please write|code|implement|i want|generate|show me|give me|write me|help me write}"


def chat(rng):
    wording, versions = rng.pick(TASKS)
    lang = rng.weighted([(3 if v in ("Go", "Python") else 1, v) for v in sorted(versions)])
    spoken, task = expand(rng, SPOKEN[lang]), expand(rng, wording)
    frame = rng.below(8)
    if frame < 4:
        ask = expand(rng, f"{WRITE} a") + f" {spoken} " + expand(rng, KINDS) + f" {task}"
    elif frame < 5:
        ask = expand(rng, f"{WRITE} {{a|some|}} {KINDS}") + f" {task} in {spoken}"
    elif frame < 6:
        ask = f"{task} in {spoken}"
    elif frame < 7:
        ask = f"{spoken} " + expand(rng, KINDS) + f" {task}"
    else:
        lang = "Python" if "Python" in versions else sorted(versions)[0]
        ask = expand(rng, f"{WRITE} {{a|some}} {KINDS}") + f" {task}"
    text = f"```{FENCE[lang]}\n{versions[lang]}\n```"
    if rng.chance(0.25):
        text = rng.pick([f"Here it is in {lang}:\n", f"In {lang}:\n", "Here you are:\n"]) + text
    return noise.disturb(rng, ask, plain=0.7), text


def plain(rng):
    _, versions = rng.pick(TASKS)
    lang = rng.pick(sorted(versions))
    more = [v[lang] for _, v in rng.sample(TASKS, 6) if lang in v]
    return "\n\n".join([versions[lang], *more][: rng.between(1, 4)])
