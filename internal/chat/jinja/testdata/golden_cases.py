"""The templates of make_goldens.py. An expression stands for itself in {{ }}."""

# Expressions, one a line. A line that starts with "~ " is compared loosely
# if it is an error.
EXPRESSIONS = r"""
1
-1
+n
1_000
0x1F
0b101
0o17
1.5
1e3
2.50
1e100
1e16
123456789012345680.0
1e-5
0.0001
0.1 + 0.2
10 / 4
10 / 5
7 // 2
-7 // 2
7 // -2
7.5 // 2
-7.5 // 2
7 % 3
-7 % 3
7 % -3
-7.5 % 2
7.5 % -2
2 ** 10
2 ** -1
2 ** 0.5
2 ** 3 ** 2
-2 ** 2
(-2) ** 2
2 * 3 + 4 * 5
1 + 2 ~ 3 + 4
1 - 2 - 3
100 / 10 / 2
n / 0
n // 0
n % 0
f / 0
1.0 // 0
1.0 % 0
0 ** -1
9223372036854775807
big
big == 12345678901234567890
big > n
true
True
false
none
None
[]
()
{}
[1, 2.0, 'three', none, true]
(1,)
(1, 2)
1, 2
{'a': 1, "b": [2], 3: 'x', none: true}
{'a': 1, 'a': 2}
{1: 'a', 1.0: 'b', true: 'c'}
{(1, 2): 'tuple'}[(1, 2)]
{[1]: 2}
'single' "double" 'joined'
'a\nb\tc\\d\'e\"f'
"\x41\u00e9\U0001F999\101"
'\q\é\$'
'line \
continued'
"it's"
quotes
[quotes]
[u]
['\x00\x7f\xa0\u200b\ud7ff']
['it\'s', "say \"hi\"", 'both \' and "']
s
u
nil
t
l
d
deep
mixed
nested
undefined_name
[undefined_name]
undefined_name.attr
undefined_name['item']
undefined_name()
undefined_name + 1
1 + undefined_name
'a' + undefined_name
undefined_name ~ 'x'
undefined_name == undefined_other
undefined_name == none
undefined_name == ''
undefined_name < 1
undefined_name in l
'a' in undefined_name
-undefined_name
not undefined_name
undefined_name or 'default'
undefined_name and 'x'
undefined_name | length
undefined_name | list
undefined_name | upper
undefined_name | tojson
undefined_name | join(',')
undefined_name | int
undefined_name | float
undefined_name | trim
undefined_name | first
undefined_name | items | list
undefined_name | abs
undefined_name | round
undefined_name | string
undefined_name | replace('a', 'b')
undefined_name | sum
undefined_name | sort
undefined_name | map('upper') | list
undefined_name is iterable
undefined_name is sequence
undefined_name is callable
undefined_name is none
undefined_name is string
undefined_name is odd
undefined_name[1:]
d.missing
d.missing.more
d['missing']
d['missing']['more']
l[10]
l[10].x
l['x']
l.x.y
s.nope
s.nope.more
none.x
none['x'].y
nil.x.y
n.x.y
d[1].y
d[none].y
l[none]
(1, 2)[5].z
d.a
d['a']
d.items
d.items()
d.keys()
d.values()
d.get('a')
d.get('zz')
d.get('zz', 'dflt')
d.get()
d.copy()
d.pop('a')
d.update({'x': 1})
d.clear
d.setdefault('a', 1)
d.__class__
d.__class__.__mro__
s.__class__
''.__class__.__base__
l.append(4)
l.append
l.pop()
l.sort()
l.reverse()
l.extend([1])
l.insert(0, 1)
l.remove(1)
l.index(1)
l.index(99)
l.count(1)
l.copy()
(1, 2, 1).count(1)
(1, 2, 1).index(2)
{'items': 1}.items
{'items': 1}['items']
{'get': 1}.get
{'_x': 1}._x
{'__class__': 1}['__class__']
deep.x.y[1].z
deep['x']['y'][0]
deep.x.y.0
deep.x.y.1.z
nested[0][1][0]
l[0]
l[-1]
l[-4]
l[true]
l[1:]
l[:1]
l[::-1]
l[::2]
l[-2:]
l[5:]
l[:-5]
l[2:0:-1]
l[10:0:-1]
l[::-5]
l[::0]
l['a':]
l[none:none]
(1, 2, 3, 4)[1:3]
(1, 2, 3)[::-1]
range(10)[2:8:3]
range(10)[::-1]
range(5)[-1]
range(5)[7]
s[0]
s[-1]
s[99]
s[0:5]
s[::-1]
s[::2]
s[-5:]
s[3:1]
u[0]
u[2]
u[-1]
u[1:4]
u[::-1]
u[::3]
u[7:9]
u | length
u | reverse
d[1:2]
n[1:2]
nil[1:]
undefined_name[:2]
n[0]
1 == 1.0
1 == true
'1' == 1
l == [3, 1, 2]
(1, 2) == [1, 2]
d == {'a': 2, 'b': 1, 'C': 3}
none == false
1 != 2
'a' < 'b'
'a' < 'B'
'ä' > 'z'
[1, 2] < [1, 3]
[1, 2] < [1, 2, 0]
(1, 'a') < (1, 'b')
[1, 'a'] < [1, 2]
1 < 'a'
none < 1
l < d
d < d
1 < 2 < 3
1 < 3 > 2
3 > 2 > 2
1 < 2 < 'x'
3 < 2 < 'x'
1 in l
9 in l
9 not in l
not 9 in l
'a' in d
'zz' in d
'ell' in s
1 in s
none in s
'a' in n
'a' in nil
[1] in [[1]]
[1] in d
2 in range(5)
2.0 in range(5)
'x' in range(5)
5 in range(5)
4 in range(0, 10, 2)
'name' in users[0]
true and false
true or false
1 and 2
0 or 'x'
'' or none or 'last'
none and 1
not 1
not none
not not 1
not 1 == 2
1 if true else 2
1 if false else 2
1 if false
(1 if false) is defined
(1 if false).x
'a' if n > 50 else 'b' if n > 40 else 'c'
[1 if true else 2, 3]
1 if true else 2 if true else 3
'x' ~ 1 ~ none ~ true ~ 1.0 ~ [1]
'a' + 'b'
'a' + 1
1 + 'a'
'a' + none
none + 'a'
[1] + [2]
[1] + (2,)
(1,) + (2,)
[1] + 'a'
d + d
d + 'x'
'ab' * 3
3 * 'ab'
'ab' * -1
'ab' * 1.5
[1, 2] * 2
(1,) * 3
'a' * 'b'
'a' - 'b'
l - l
none * 2
- 'a'
+ none
-true
true + true
true / 2
1.5 + 1
1.5 * 'a'
n ** 0
n.real
true.real
f.is_integer()
2.0.is_integer()
s.upper()
s.lower()
u.upper()
'ß'.upper()
'ΑΣ'.lower()
'ŉ'.upper()
'ǆ'.title()
'hello wORLD it\'s x-y 2nd'.title()
'hELLO wORLD'.capitalize()
'ßa'.capitalize()
''.capitalize()
'Hello'.swapcase()
'Straße'.casefold()
'  x '.strip()
'\u00a0\u2003x\x1f'.strip()
'  x '.lstrip()
'  x '.rstrip()
'xxaxx'.strip('x')
'abcba'.strip('ab')
'abcba'.lstrip('ab')
'äöä'.strip('ä')
'x'.strip(none)
'x'.strip(1)
'x'.strip('a', 'b')
'a b  c'.split()
'  a b  '.split()
' a b c '.split(none, 1)
' a  b c '.split(maxsplit=1)
'a,b,,c'.split(',')
'a,b,c'.split(',', 1)
'a,b,c'.split(',', 0)
'a,b,c'.split(sep=',', maxsplit=1)
''.split()
''.split(',')
'abc'.split('')
'abc'.split(1)
'a b  c '.rsplit()
' a b  c '.rsplit(none, 1)
'a,b,c'.rsplit(',', 1)
'a,b,c'.rsplit(',')
'aXbXc'.rsplit('X', 1)[0]
text.splitlines()
text.splitlines(true)
'a\x0bb\x1cc\u2028d\x85e'.splitlines()
s.startswith('Hell')
s.startswith(('x', 'He'))
s.startswith('World', 6)
s.startswith('Hello', 0, 3)
s.startswith(1)
s.endswith('ld')
s.endswith(('x', 'rld'))
''.startswith('')
'abc'.startswith('', 5)
s.find('o')
s.find('o', 5)
s.find('zz')
s.find('')
u.find('世')
u.find('!')
s.rfind('o')
s.index('W')
s.index('zz')
s.rindex('l')
s.count('l')
s.count('')
s.count('l', 4)
u.count('')
'aaaa'.count('aa')
s.replace('l', 'L')
s.replace('l', 'L', 1)
s.replace('l', 'L', 0)
'abc'.replace('', '-')
'abc'.replace('', '-', 2)
u.replace('', '.')
s.replace('l')
s.replace('l', 1)
', '.join(['a', 'b'])
', '.join([])
''.join('abc')
', '.join([1, 2])
', '.join(d)
', '.join(5)
'-'.join(words | map('upper'))
'42'.zfill(5)
'-42'.zfill(5)
'+4'.zfill(4)
'abc'.zfill(2)
'ab'.center(7, '*')
'ab'.center(6)
'abc'.center(6, '.')
'a'.center(4, '.')
'ab'.ljust(4) ~ '|'
'ab'.rjust(4)
'ab'.rjust(5, '世')
'ab'.rjust(5, 'xx')
'a=b=c'.partition('=')
'a=b=c'.rpartition('=')
'abc'.partition('=')
'abc'.rpartition('=')
'abc'.partition('')
'TestHook'.removeprefix('Test')
'TestHook'.removesuffix('Hook')
'TestHook'.removeprefix('Hook')
'123'.isdigit()
'12a'.isdigit()
''.isdigit()
'²'.isdigit()
'٣'.isdigit()
'²'.isdecimal()
'½'.isnumeric()
'abc'.isalpha()
'äöü'.isalpha()
'a1'.isalpha()
'a1'.isalnum()
'a 1'.isalnum()
' \n'.isspace()
''.isspace()
'ABC1'.isupper()
'ABc'.isupper()
'123'.isupper()
'abc'.islower()
'Hello World'.istitle()
'Hello world'.istitle()
'abc'.isascii()
'ä'.isascii()
'abc_1'.isidentifier()
'1abc'.isidentifier()
'a b'.isprintable()
'a\n'.isprintable()
'a\tb'.expandtabs()
'a\tb'.expandtabs(4)
'a\n\tb'.expandtabs(tabsize=2)
'{} and {}'.format(1, 'two')
'{1} {0}'.format('a', 'b')
'{a} {b}'.format(a=1, b=none)
'{0.name} {0[age]}'.format(users[0])
'{0[0]} {0[1]}'.format(l)
'{x[y][0]}'.format(**deep)
'{!r} {!s} {!a}'.format('a', 'b', 'ä')
'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')
'{:*^7}'.format('x')
'{:世>4}'.format('x')
'{:05d}'.format(42)
'{:+d} {: d}'.format(1, 2)
'{:,}'.format(1234567)
'{:_}'.format(1234567)
'{:,.2f}'.format(1234567.891)
'{:010,d}'.format(12345)
'{:x} {:X} {:#x} {:o} {:b} {:#b}'.format(255, 255, 255, 8, 5, 5)
'{:c}'.format(65)
'{:.2f}'.format(3.14159)
'{:.0f}'.format(2.5)
'{:8.3f}|'.format(3.14159)
'{:e} {:.2E}'.format(12345.678, 0.00012)
'{:g} {:g} {:.3g}'.format(0.00001, 123456789.0, 1234.5)
'{:%}'.format(0.25)
'{:.1%}'.format(0.256)
'{:.3}'.format('abcdef')
'{:.3}'.format(1234.5678)
'{:.3}'.format(12.0)
'{:10}|'.format(1.5)
'{:10}|'.format('x')
'{:10}|'.format(5)
'{:<10}|'.format(5)
'{:=+6}'.format(5)
'{:d}'.format('x')
'{:s}'.format(1)
'{:d}'.format(1.5)
'{:.2d}'.format(1)
'{:{}}|'.format('a', 5)
'{:{w}.{p}f}'.format(3.14159, w=8, p=2)
'{{}} {}'.format(1)
'{}'.format()
'{x}'.format()
'{0} {}'.format(1, 2)
'{'.format(1)
'}'.format(1)
'{} {'.format(1)
'{!z}'.format(1)
'{:>{'.format(1)
'{}'.format(none)
'{:5}'.format(none)
'{}'.format([1, 'a'])
'{0.__class__}'.format(1)
'{.x.y}'.format(d)
'{a}'.format_map({'a': 1})
'%s' % 1
'%s %s' % (1, 'b')
'%s' % [1]
'%s' % (1, 2)
'%s %s' % 1
'%s' % undefined_name
'%(a)s-%(b)d' % {'a': 1, 'b': 2}
'%(zz)s' % d
'%d' % 3.9
'%d' % 'x'
'%5d|%-5d|%05d' % (1, 2, 3)
'%+d % d' % (1, 2)
'%.2f %5.1f|' % (1.005, 2.25)
'%e %E %g %G' % (1.5, 1.5, 1.5, 0.0000001)
'%x %X %#x %o %#o' % (255, 255, 255, 8, 8)
'%x' % 1.5
'%c%c' % (65, 'b')
'%r %a' % ('ä', 'ä')
'%5s|%-5s|%.2s' % ('a', 'b', 'cde')
'%*d' % (5, 1)
'%-*d|' % (5, 1)
'%.*f' % (1, 2.25)
'%%'
'%%' % ()
'100%' % ()
'%y' % 1
'%s' % none
'%s and %s' % ('a', {'b': 1})
'%i %u' % (1, 2)
'%s' % {'a': 1}
'plain' % {'a': 1}
'plain' % 1
'%(a)' % {'a': 1}
'%f' % big
'%d' % big
'%s' % true
'%d' % true
'%5.3d|' % 7
n | abs
neg | abs
-1.5 | abs
'x' | abs
d | attr('items')
d | attr('a')
l | batch(2) | list
l | batch(2, 'x') | list
[1, 2, 3, 4, 5, 6, 7] | slice(3) | list
[1, 2, 3, 4, 5, 6, 7] | slice(3, 'x') | list
l | slice(5) | list
'hELLO wORLD' | capitalize
n | capitalize
'ab' | center(6) ~ '|'
l | count
nope | d('dflt')
nope | default('dflt')
nope | default
e | default('x')
e | default('x', true)
e | d('x', boolean=true)
nil | default('x')
nil | default('x', true)
no | default('x', true)
d.missing | default('none')
d.missing.more | default('x')
d | dictsort
d | dictsort(true)
d | dictsort(by='value')
d | dictsort(reverse=true)
d | dictsort(false, 'value', true)
d | dictsort(by='x')
{'b': 1, 'A': 2, 'c': 0} | dictsort
l | dictsort
html | e
html | escape
html | escape | escape
html | forceescape
html | e | forceescape
(html | e) + '<b>'
'<b>' + (html | safe)
('<i>' | safe) ~ '<b>'
('<i>' | safe) + '<b>'
('%s' | safe) % '<b>'
('<i>%s</i>' | safe) | format('<b>')
['<' | safe]
('<' | safe) * 3
('a<b' | safe).upper()
('a,<' | safe).split(',')
[1, '<' | safe] | join('&')
('&' | safe).join(['<', '>' | safe])
('x' | safe) is escaped
'x' is escaped
('x' | safe) == 'x'
('abc' | safe)[1:]
('abc' | safe) is string
('<' | safe) | tojson
1000 | filesizeformat
1 | filesizeformat
0 | filesizeformat
1234567 | filesizeformat
1234567 | filesizeformat(true)
'13' | filesizeformat
l | first
none_list | first
'abc' | first
d | first
n | first
'1.5' | float
'x' | float
'x' | float(7.5)
' 1e3 ' | float
'1_000.5' | float
'inf' | float
'nan' | float
'0x10' | float
n | float
nil | float
nil | float('x')
l | float
'%s-%s' | format(1, 2)
'%(a)s' | format(a=1)
'%s' | format(1, a=2)
users | groupby('city') | list
users | groupby('city', case_sensitive=true) | list
users | groupby('age')
users | groupby('nope')
users | groupby('tags', default=[])
users | groupby('city') | map('first') | list
users | map(attribute='tags.0') | list
users | map(attribute='tags.0', default='-') | list
'a\nb\n\nc' | indent
'a\nb\n\nc' | indent(2)
'a\nb' | indent(2, true)
'a\n\nb' | indent(2, blank=true)
'a\nb' | indent('> ')
'a\nb' | indent(width='--', first=true)
'a\nb\n' | indent ~ '|'
'a\r\nb' | indent(1)
'' | indent
n | indent
nil | indent
'42' | int
'42.9' | int
'-42.9' | int
' 42 ' | int
'x' | int
'x' | int(7)
'x' | int('dflt')
'0x1F' | int(base=16)
'1F' | int(0, 16)
'0b11' | int(base=0)
'0x1F' | int
'1_000' | int
'1__0' | int
'' | int
'1e3' | int
'inf' | int
'99999999999999999999' | int
3.99 | int
-3.99 | int
true | int
nil | int
l | int
1e30 | int
d | items | list
l | items | list
nil | items | list
l | join
l | join(', ')
l | join(d='-')
users | join(', ', attribute='name')
users | join(attribute='name', d='/')
mixed | join('|')
'abc' | join('-')
d | join(',')
n | join
[undefined_name, 1] | join(',')
l | last
none_list | last
'abc' | last
d | last
d.items() | last
(l | map('string')) | last
u | last
l | length
s | length
d | length
n | length
nil | length
(l | map('string')) | length
range(7) | length
'abc' | list
d | list
d.items() | list
(1, 2) | list
n | list
range(3) | list
'ABC' | lower
n | lower
users | map(attribute='name') | list
users | map('upper') | list
words | map('upper') | list
words | map('length') | list
words | map('replace', 'a', 'o') | join(' ')
words | map('default', 'x') | list
words | map
words | map('nope') | list
words | map('join', '-') | first
users | map(attribute='name', foo=1) | list
none_list | map('nope') | list
nested | map('first') | list
nested | map(attribute=0) | list
nested | map(attribute='1.0') | list
l | max
l | min
words | max
words | min
words | min(case_sensitive=true)
users | max(attribute='age')
none_list | max
none_list | min | default('none')
mixed | max
'hello' | max
n | max
[1, 'a'] | min
l | reject('odd') | list
l | reject('equalto', 1) | list
[0, 1, '', 'a', none] | reject | list
[0, 1, '', 'a', none] | select | list
l | select('odd') | list
l | select('>', 1) | list
l | select('in', [1, 2]) | list
l | select('divisibleby', 2) | list
l | select('nope') | list
[undefined_name, 1] | select('defined') | list
users | selectattr('tags') | map(attribute='name') | list
users | selectattr('age', '>', 30) | map(attribute='name') | list
users | selectattr('city', 'equalto', 'Oslo') | list | length
users | selectattr('tags', 'defined') | list | length
users | selectattr('tags', 'undefined') | list | length
users | rejectattr('tags', 'defined') | map(attribute='name') | list
users | rejectattr('tags') | map(attribute='name') | list
users | selectattr('name', 'in', ['Ann', 'Cyd']) | map(attribute='age') | sum
users | selectattr | list
messages | selectattr('role', 'equalto', 'user') | list | last
messages | selectattr('role', '==', 'user') | map(attribute='content') | list
messages | map(attribute='role') | unique | join(',')
s | replace('o', '0')
s | replace('o', '0', 1)
n | replace(4, 'x')
s | replace('zz', 'y')
'aaa' | replace('a', '')
'abc' | replace('', '-')
s | replace('o')
s | reverse
l | reverse | list
d | reverse | list
(1, 2) | reverse | list
(l | map('string')) | reverse
n | reverse
42.55 | round
42.55 | round(1)
42.55 | round(1, 'floor')
42.55 | round(1, 'ceil')
42.1 | round(method='ceil')
42 | round
42 | round(-1)
45 | round(-1)
55 | round(-1)
2.5 | round
3.5 | round
-2.5 | round
2.675 | round(2)
1234.5 | round(-2)
0.5 | round | int
1.5 | round(method='x')
'x' | round
nil | round
true | round
42 | round(1, 'floor')
-0.4 | round
l | sort
l | sort(reverse=true)
l | sort(true)
words | sort
words | sort(case_sensitive=true)
words | sort(reverse=true)
users | sort(attribute='age') | map(attribute='name') | list
users | sort(attribute='age,name') | map(attribute='name') | list
users | sort(attribute='name', reverse=true) | map(attribute='name') | list
users | sort(attribute='nope') | map(attribute='name') | list
mixed | sort
[[2, 1], [1, 2]] | sort
'hello' | sort
d | sort
[none, 1] | sort
n | string
nil | string
[1] | string
undefined_name | string | length
'<p>Hello  <b>World</b></p> &amp; <!-- c --> x' | striptags
l | sum
users | sum(attribute='age')
users | sum('age', 10)
none_list | sum
[[1], [2]] | sum(start=[])
['a'] | sum
['a'] | sum(start='')
[1.5, 2] | sum
'hello world-foo (bar) it\'s' | title
'HELLO {x} [y] <z>' | title
u | title
d | tojson
mixed | tojson
u | tojson
u | tojson(ensure_ascii=true)
u | tojson(true)
quotes | tojson
html | tojson
'\x00\x1f\x7f\u2028/' | tojson
'\x7f' | tojson(ensure_ascii=true)
d | tojson(indent=2)
deep | tojson(indent=4)
deep | tojson(indent='--')
deep | tojson(indent=0)
deep | tojson(none, 2)
[] | tojson(indent=2)
{} | tojson(indent=2)
{'a': [], 'b': {}} | tojson(indent=2)
d | tojson(separators=(',', ':'))
d | tojson(indent=2, separators=(',', ':'))
d | tojson(separators=[',', ': '])
d | tojson(sort_keys=true)
{'b': {'d': 1, 'c': 2}, 'a': 0} | tojson(sort_keys=true)
{1: 'a', true: 'b', none: 'c', 1.5: 'd'} | tojson
{(1, 2): 'x'} | tojson
{'a': 1, 1: 2} | tojson(sort_keys=true)
(1, 2) | tojson
none | tojson
1.0 | tojson
1e22 | tojson
1e-7 | tojson
big | tojson
('inf' | float) | tojson
('nan' | float) | tojson
range(3) | tojson
d.items() | tojson
d.keys() | tojson
(l | map('string')) | tojson
undefined_name | tojson(indent=2)
[undefined_name] | tojson
namespace(a=1) | tojson
1 | tojson(nope=1)
'  x ' | trim
'xxaxx' | trim('x')
n | trim
nil | trim
'\n a \n' | trim ~ '|'
'foo bar baz qux' | truncate(9)
'foo bar baz qux' | truncate(9, true)
'foo bar baz qux' | truncate(11)
'foo bar baz qux' | truncate(11, false, '...', 0)
'foo bar baz qux' | truncate(2)
'foo bar' | truncate(5, end='', leeway=0)
u | truncate(5, true, '', 0)
l | truncate(3)
[1, 2, 1, 3, 2] | unique | list
words | unique | list
words | unique(true) | list
users | unique(attribute='age') | map(attribute='name') | list
mixed | unique | list
[1, 1.0, true, '1'] | unique | list
s | upper
n | upper
u | upper
'a b&c/d?é' | urlencode
{'a b': 'c&d', 'e': 1} | urlencode
[('a', '/')] | urlencode
n | urlencode
'Hello, big_world 2 ünï' | wordcount
s | nope
s is nope
s | upper | lower | capitalize
(s | upper)[0:2]
s | upper[0]
s|length > 5
-n | abs
n | string | length
[1, 2] | first + 1
'a' ~ 'b' | upper
'a' + 'b' | upper
2 * 3 | string * 2
not s | length
n is odd
n is even
neg is odd
f is odd
'x' is odd
n is divisibleby(7)
n is divisibleby 5
n is divisibleby(0)
n is defined
nope is defined
nope is undefined
nope is not defined
nil is none
n is not none
n is number
t is number
f is number
big is number
'1' is number
n is integer
t is integer
f is integer
big is integer
f is float
n is float
t is boolean
n is boolean
t is true
n is true
no is false
nil is false
1 is true
s is string
n is string
l is iterable
n is iterable
s is iterable
d is mapping
l is mapping
l is sequence
d is sequence
s is sequence
n is sequence
d.items() is sequence
d.items() is iterable
range(3) is sequence
(l | map('string')) is iterable
(l | map('string')) is sequence
s is sameas s
none is sameas none
1 is sameas true
l is sameas l
l is sameas([3, 1, 2])
n is eq 42
n is equalto(42)
n is ne 42
n == 42 is true
n is lt 50
n is lessthan(50)
n is gt 50
n is greaterthan 10
n is ge 42
n is le 41
n is in [42]
n is in(l)
n is not in [42]
'a' is in 'abc'
s is upper
'ABC' is upper
'abc' is lower
n is lower
range is callable
s is callable
s.upper is callable
'upper' is filter
'nope' is filter
'odd' is test
'nope' is test
n is defined and n > 1
n is defined or nope
n is string is string
not n is string
n is not string
n is odd or n is even
n > 1 is true
range(5)
range(2, 5)
range(0, 10, 3)
range(5, 0, -2)
range(5) | list
range(5, 0, -2) | list
range(2, 2) | list
range(3) == range(0, 3)
range(0)
range(1, 10, 0)
range('a')
range(1.5)
range()
range(100001)
range(100000) | length
range(0, 10 ** 15, 10 ** 11) | length
dict(a=1, b=2)
dict({'a': 1}, b=2)
dict([('a', 1), ('b', 2)])
dict([1])
dict(['ab', 'cd'])
dict(['abc'])
dict(l)
dict(**d)
dict(**{'a': 1}, **{'b': 2})
dict(*[{'x': 1}])
namespace(a=1, b='x')
namespace({'a': 1}, b=2)
namespace(a=1).a
namespace(a=1)['a']
namespace(a=1).b
namespace(a=1).b.c
namespace()._x
joiner(', ')
cycler
range
dict
strftime_now('%Y-%m-%d %H:%M:%S')
strftime_now('%d %B %Y, %A')
strftime_now('%a %b %e %-d %-m %-H %I:%M %p %j %U %W %V %G %u %w %y %C %%')
strftime_now('%c | %x | %X | %D | %F | %T | %R | %r | %f | %h')
strftime_now('%k|%l|%s|%n|%t|%z|%Z|%P|%_d|%05d|%^a|%#p')
strftime_now('%Q %')
strftime_now('')
strftime_now(1)
raise_exception('refused: ' ~ n)
raise_exception()
raise_exception(1)
'abc'()
n()
none()
s.upper(1)
range(4).index(1)
range(4).index(9)
range(4).count(2)
('a' | safe) + 1
('a' | safe) * 'b'
'é %q' % 1
'%5.2t' % 1
s.nope()
d.nope()
l.nope()
none.nope()
lipsum is defined
loop
self is defined
caller
varargs
true()
'a'.b.c
{'a': {'b': 1}}.a.b
{'a': 1}|length
{'a': {'b': {}}}|tojson
[[]]|tojson
'%s' % ('a',)
'a,b'.split(',')[0]
'a,b'.split(',') | last
'</think>' in 'x</think>y'
'x</think>\n\ny'.split('</think>')[-1].lstrip('\n')
'<think>\na\n</think>b'.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')
(messages | length - 1)
messages[-1].content.strip()
messages[1:][0].role
messages[0]['role'] == 'system'
messages[0].get('name', 'anon')
messages[2].tool_calls is none
messages[2].tool_calls is defined and messages[2].tool_calls is not none
messages[1].tool_calls is defined
messages | map(attribute='content') | map('trim') | join('|')
messages | selectattr('role', 'in', ['user', 'system']) | list | count
(messages | first).content
(messages | last)['content'] | trim
1 if messages else 0
users[0].tags | join(' | ')
users[2].tags | default([]) | length
d.items() | list | tojson
d | dictsort | map('first') | join
d | dictsort | map('last') | list
users | map(attribute='age') | list | sort | first
range(3) | map('string') | join(',')
[1, 2, 3] | map('multiply', 2) | list
{'a': 1}.items() | list | first | first
~ 1
1 +
* 2
(1
[1, 2
{'a' 1}
{'a': 1
1 2
a b
'unclosed
"a' 
a.
a.'x'
a[
a[1
a|
a is
a|upper(
f(1, a=2, 3)
f(**d, *l)
f(a=1, a=2)
f(*l, 1)
1 = 2
$
a ? b : c
`x`
a && b
!a
1 if
1 if 2 else
not
a in
a not b
a is not
.5
5.
1.e5
1..2
0123
1a
a;b
a @ b
{1, 2}
[1,,2]
[,]
(,)
()
[1,]
{'a': 1,}
a[1,2]
a[]
lambda: 1
[x for x in l]
n if n else
f'{n}'
b'x'
'a' 1
a..b
a.b.
'\x4'
'\u12'
'\U00110000'
'\N{BULLET}'
"\777"
"""

LOOSE_ERRORS = {
    "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(**5) }}",
    "{% macro f() %}{{ kwargs }}{% endmacro %}{{ f(a=1, **{'a': 2}) }}",
    # The names of Python's functions and the counting of their arguments.
    "d.get()", "s.upper(1)", "'x'.strip('a', 'b')", "'x'.strip(1)", "s.replace('l')", "s.replace('l', 1)",
    "1 | tojson(nope=1)", "range('a')", "range()", "raise_exception()", "s | replace('o')", "words | map",
    "'abc'.split(1)", "s.startswith(1)", "l | max(1, 2, 3)", "'ab' * 1.5", "'a' * 'b'", "nil | indent", "n | indent",
    "undefined_name | int", "users | selectattr", "'{:{}}|'.format('a', 5)", "'{:5}'.format(none)", "mixed | unique | list",
    "strftime_now(1)", "','.join(5)", "l | truncate(3)", "undefined_name | sum", "l | dictsort",
    "undefined_name | round", "'{:>{'.format(1)", "'\\N{BULLET}'", "'%y' % 1", "dict([1])", "dict(l)",
    "'\\x4'", "'\\u12'", "'\\U00110000'", "'{:.2d}'.format(1)", "f(a=1, a=2)", "d < d", "l | items | list",
    "-1.5 | abs", "undefined_name | abs", "'%x' % 1.5", "dict(**{'a': 1}, **{'b': 2})", "(l | map('string')) | last",
    "n | reverse", "(1, 2) < 1", "namespace(a=1) | tojson",
}

# Left out: what cannot agree, with the reason.
SKIP = {
    "range",  # printed with its address, as are the following
    "joiner(', ')",
    "d.items",
    "d | attr('items')",
    "{'get': 1}.get",
    "{'items': 1}.items",
    "words | map",
    "self is defined",  # Jinja's handle on the template itself; chat templates have no blocks
    "lipsum is defined",
    "strftime_now('%k|%l|%s|%n|%t|%z|%Z|%P|%_d|%05d|%^a|%#p')",  # %s depends on the machine's time zone
    "'\\N{BULLET}'",  # names of characters are refused
}

# Templates for a conversation with tools, in the manner of those that models ship.
CONVERSATIONS = [
    # Content in parts through a macro, thoughts taken out of old answers, arguments as a mapping or text.
    r"""{%- macro plain(c) -%}
    {%- if c is string -%}{{ c }}
    {%- elif c is iterable and c is not mapping -%}
        {%- for part in c -%}
            {{- part.text if part is mapping and part.type == 'text' else '[' ~ part.type ~ ']' -}}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
BEGIN
{%- if offered %}

  Functions:
  {% for f in offered %}
  * {{ f | tojson(ensure_ascii=False) }}
  {% endfor %}
{%- endif %}
{%- set mark = namespace(user=-1, calls=0) %}
{%- for turn in chat %}{% if turn.role == 'user' %}{% set mark.user = loop.index0 %}{% endif %}{% endfor %}
{% for turn in chat %}
    {%- if turn.role in ['user', 'system'] %}
@{{ turn.role }}
{{ plain(turn.content) }}{{ '!' if quiet is defined and not plain(turn.content).endswith('!') else '' }}
    {%- elif turn.role == 'assistant' %}
        {%- set said = plain(turn.content) if turn.content else '' %}
        {%- set thought = '' %}
        {%- if turn.reasoning_content is string %}
            {%- set thought = turn.reasoning_content %}
        {%- elif '</think>' in said %}
            {%- set thought = said.split('</think>') | first | replace('<think>', '') %}
            {%- set said = said.split('</think>')[-1].lstrip('\n') %}
        {%- endif %}
@assistant {{ '(' ~ thought.strip() ~ ')' if thought and loop.index0 > mark.user - 4 else '()' }} {{ said.strip() }}
        {%- for call in turn.tool_calls or [] %}
            {%- set mark.calls = mark.calls + 1 %}
            {%- set call = call.function or call %}
 {{ mark.calls }}:{{ call.name }}
            {%- if call.arguments is mapping %}
                {%- for key, val in call.arguments.items() %} {{ key }}={{ val if val is string else val | tojson }}{% endfor %}
            {%- else %} {{ call.arguments }}
            {%- endif %}
        {%- endfor %}
    {%- elif turn.role == 'tool' %}
        {%- if loop.first or chat[loop.index0 - 1].role != 'tool' %}{{ '\n@results' }}{% endif %}
        {{- ' {' ~ turn.name ~ ': ' ~ turn.content ~ '}' }}
    {%- endif %}
{% endfor %}
END""",
    # Checks that refuse, tools shown before the last question only, identifiers cut, JSON put together by hand.
    r"""{%- if chat[0]["role"] == "system" -%}
    {%- set rules = chat[0]["content"] -%}
    {%- set rest = chat[1:] -%}
{%- else -%}
    {%- set rest = chat -%}
{%- endif -%}
{%- set asked = rest | selectattr("role", "equalto", "user") | list -%}
{%- set count = namespace() -%}
{%- set count.turn = 0 -%}
{%- for m in rest -%}
    {%- if not (m.role == "tool" or (m.tool_calls is defined and m.tool_calls is not none)) -%}
        {%- if (m.role == "user") != (count.turn % 2 == 0) -%}
            {{- raise_exception("turn " ~ count.turn ~ " is not the " ~ m.role ~ "'s") -}}
        {%- endif -%}
        {%- set count.turn = count.turn + 1 -%}
    {%- endif -%}
{%- endfor -%}
{%- for m in rest %}
    {%- if m.role == "user" %}
        {%- if offered is not none and m == asked[-1] %}
            {{- "tools=[" }}
            {%- for tool in offered %}
                {%- set tool = tool.function %}
                {{- "{" }}
                {%- for key, val in tool.items() if key != "strict" %}
                    {{- '"' + key + '":' + (val|tojson if val is not string else '"' + val + '"') }}
                    {%- if not loop.last %},{% endif %}
                {%- endfor %}
                {{- "}" if loop.last else "}," }}
            {%- endfor %}
            {{- "]\n" }}
        {%- endif %}
        {{- "Q: " + (rules + "\n" if loop.last and rules is defined else "") }}
        {{- m.content if m.content is string else m.content | selectattr('type', 'eq', 'text') | map(attribute='text') | join('\n') }}
    {%- elif m.tool_calls is defined and m.tool_calls is not none %}
        {%- for call in m.tool_calls %}
            {%- set out = call.function|tojson %}
            {{- "\n=> " + out[:-1] + ', "n": "' + call.id[-1:] + '"}' }}
        {%- endfor %}
    {%- elif m.role == "assistant" %}
        {{- "\nA: " + m.content|trim + "\n" }}
    {%- elif m.role == "tool" %}
        {%- set got = m.content.content if m.content.content is defined else m.content %}
        {{- "\n<= " + got|string + " #" + m.tool_call_id }}
    {%- else %}
        {{- raise_exception("who is " + m.role + "?") }}
    {%- endif %}
{%- endfor %}
""",
    # XML-like descriptions of tools, from a macro that leaves known keys out.
    r"""{%- macro rest_of(spec, known) -%}
    {%- if spec is mapping %}
        {%- for key in spec if key not in known %}
            {%- if spec[key] is mapping or (spec[key] is sequence and spec[key] is not string) %}
                {{- ' <' ~ key ~ '>' ~ (spec[key] | tojson | safe) ~ '</>' }}
            {%- else %}
                {{- ' <' ~ key ~ '>' ~ (spec[key] | string) ~ '</>' }}
            {%- endif %}
        {%- endfor %}
    {%- endif %}
{%- endmacro -%}
{%- for f in offered | map(attribute='function') %}
    {{- '<fn ' ~ f.name ~ '>' }}
    {%- if f.parameters is defined and f.parameters is mapping and f.parameters.properties is defined %}
        {%- for name, spec in f.parameters.properties|items %}
            {{- '\n  ' ~ name }}{% if spec.type is defined %}{{ ':' ~ (spec.type | string) }}{% endif %}
            {%- set known = ['type', 'description'] %}
            {{- rest_of(spec, known) }}
        {%- endfor %}
    {%- endif %}
    {%- set known = ['type', 'properties'] %}
    {{- rest_of(f.parameters, known) ~ '\n' }}
{%- endfor %}
{%- for m in chat %}
    {%- if m.tool_calls is defined and m.tool_calls is iterable and m.tool_calls | length > 0 %}
        {%- for call in m.tool_calls | map(attribute='function') if call.arguments is mapping %}
            {%- for name, arg in call.arguments|items %}
                {%- set arg = arg | tojson | safe if arg is mapping or (arg is sequence and arg is not string) else arg | string %}
                {{- call.name + '.' + name + '=' }}{{ arg }}{{ '\n' }}
            {%- endfor %}
        {%- endfor %}
    {%- elif m.role == "tool" %}
        {%- if loop.previtem and loop.previtem.role != "tool" %}{{- '(' }}{% endif %}
        {{- m.content }}
        {%- if not loop.last and loop.nextitem.role != "tool" %}{{- ')\n' }}{% else %}{{- '; ' }}{% endif %}
    {%- endif %}
{%- endfor %}""",
    # Pictures counted, lines without any dash in the tags.
    r"""{% set seen = namespace(pictures=0) %}{% for m in chat %}{% if loop.first and m['role'] != 'system' %}#system
none
{% endif %}#{{ m['role'] }}
{% if m['content'] is string %}{{ m['content'] }}
{% elif m['content'] %}{% for part in m['content'] %}{% if part['type'] == 'image' or 'image_url' in part %}{% set seen.pictures = seen.pictures + 1 %}<picture {{ seen.pictures }}>{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}

{% endif %}{% endfor %}{% if add_generation_prompt %}#assistant
{% endif %}""",
    # A date, text collected in a namespace, what the assistant wrote marked.
    r"""{%- set mode = reasoning_mode | default('slow') -%}
{{- "day: " ~ strftime_now("%d %B %Y") ~ "; mode: " + mode + "\n" -}}
{%- set page = namespace(text="may call:\n") -%}
{%- for tool in offered -%}
  {%- set shown = tool | string -%}
  {%- set page.text = page.text ~ shown ~ "\n" -%}
{%- endfor -%}
{{- page.text + "--" -}}
{%- for m in chat -%}
    {%- set said = m.content if m.content is string else "" -%}
    {%- if m.role == "assistant" -%}
        {% generation %}
        {%- if mode == "slow" -%}
            {{ "\n> " + said.lstrip("\n") }}
        {%- else -%}
            {{ "\n>> " + said }}
        {%- endif -%}
        {% endgeneration %}
    {%- else -%}
        {{ "\n" + m.role + ": " + said }}
    {%- endif -%}
{%- endfor -%}""",
    # Filters over all of it.
    r"""{%- for tool in offered %}
{%- set f = tool.function %}
## {{ f.name | upper }} ({{ loop.index }} of {{ loop.length }})
{{ f.description | indent(2, true) }}
{%- for name, spec in f.parameters.properties | dictsort(reverse=true) %}
    {{ name.ljust(6, '.') }}: {{ spec.type if spec.type is string else spec.type | default(['any']) | join('|') }}{{ ' (required)' if name in f.parameters.required | default([]) }}{{ ' = %s' % spec.default if spec.default is defined }}
{%- else %}
    no parameters
{%- endfor %}
{%- endfor %}
{{ offered | map(attribute='function.name') | join(', ') }}; {{ offered | map(attribute='function') | map(attribute='parameters.required', default=[]) | list }}
{{ chat | groupby('role') | map('first') | join(' ') }}; {{ chat | selectattr('tool_calls', 'defined') | map(attribute='tool_calls') | first | map(attribute='function.name') | list }}
{{ offered[0].function.parameters | tojson(indent=2, separators=(',', ': '), sort_keys=true) }}""",
]

# Whole templates.
TEMPLATES = [
    # Text and white space.
    "", "plain", "a\n", "a\n\n", "\n", "\n\na", "a\r\nb\rc\n", "{{ 1 }}\n", "{{ 1 }}\n\n",
    "  {% if true %}\n  x\n  {% endif %}\n  y",
    "a {% if true %}b{% endif %} c",
    "a\n   {%- if true %}\n   b\n   {%- endif %}\n   c",
    "a\n   {% if true -%}\n   b\n   {% endif -%}\n   c",
    "a\n   {%+ if true %}\n   b\n   {%+ endif %}\n   c",
    "a\n{% if true +%}\nb\n{% endif +%}\nc",
    "a  {{- 1 -}}  b", "a  {{ 1 }}  b", "a\n  {{ 1 }}\n  b", "a \n\n {{- 1 -}} \n\n b", "{{-1}}", "{{- 1}}", "{{ -1 -}}\n x",
    "a {#- c -#} b", "a {# c #} b", "a\n  {# c #}\nb", "a\n  {#+ c #}\nb", "a\n{# c +#}\nb", "a\n{# c -#}\n\n b", "{#-#}", "{##}x", "a{#", "{# a #}{# b #}\nc",
    "  {# c #}  {# d #}\nx", "\t{% set a = 1 %}\t\n{{ a }}", "  {% set a = 1 %}{% set b = 2 %}\n{{ a }}{{ b }}", "x  {% set a = 1 %}\n  {% set b = 2 %}\n",
    "{% if true %}\n\n\nx\n\n\n{% endif %}\n\n\ny", "{% for x in [1,2] %}\n  {{ x }}\n{% endfor %}\n", "{%- for x in [1,2] -%}\n  {{ x }}\n{%- endfor -%}\n",
    "a\u00a0{%- if true %}\u2003b{% endif %}", "\u2003\u2003{% if true %}x{% endif %}", "\n  {{ 'x' }}\n", "{{ 'a\n b' }}",
    "{%if true%}x{%endif%}", "{%-if true-%} x {%-endif-%}", "{{'x'}}{{\"y\"}}", "{{ '}}' }}", "{{ '{{' }}", "{{ {'a': {'b': 1}}}}", "{{ {'a': 1}['a'] }}", "{{ '%}' }}{% set a = '%}' %}{{ a }}",
    "{ {", "{", "}}", "%}", "#}", "{a}", "{ % if %}", "{{ 1 }", "a{{", "a{%", "{{ }}", "{% %}", "{%%}", "{{ 1 }} {{ 2", "{# x", "{% raw %}x", "\\{{ 1 }}",
    "{% raw %}{{ x }} {% if %}{# c #}{% endraw %}", "a {% raw -%}  x  {%- endraw %} b", "{% raw %}\nx\n{% endraw %}\ny", "  {% raw %}  x  {% endraw %}  y", "{%- raw -%}\n x\n{%- endraw -%}\n y", "{% raw %}{% endraw", "{% raw %}a{% raw %}b{% endraw %}", "\n   {% raw %}\n   x\n   {% endraw %}\nz",
    "{% raw %}\n  {%+ endraw %}x", "{% endraw %}", "{%raw%}{{{%endraw%}", "{% rawx %}",
    # Set.
    "{% set a = 1 %}{{ a }}", "{% set a, b = 1, 2 %}{{ a }}{{ b }}", "{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}", "{% set a, b = [1] %}", "{% set a, b = [1, 2, 3] %}", "{% set a, b = 5 %}", "{% set a, b = 'xy' %}{{ a }}{{ b }}",
    "{% set a = 1, 2 %}{{ a }}", "{% set a = b = 1 %}", "{% set a %}block {{ n }}{% endset %}{{ a }}|{{ a | length }}", "{% set a | upper %}x{{ s }}{% endset %}{{ a }}", "{% set a | upper | replace('X', 'y') %}x{% endset %}{{ a }}", "{% set a | default('z') %}{% endset %}[{{ a }}]",
    "{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{% set ns.y = 3 %}{{ ns.x }}{{ ns.y }}{{ ns }}", "{% set d.x = 1 %}", "{% set nope.x = 1 %}", "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a + ns.b }}", "{% set ns = namespace() %}{% set ns.x %}blk{% endset %}{{ ns.x }}", "{% set ns = namespace() %}{% set ns.a.b = 1 %}", "{% set ns['a'] = 1 %}",
    "{% set ns = namespace(x=1) %}{% for i in l %}{% set ns.x = ns.x * i %}{% endfor %}{{ ns.x }}",
    "{% set 1 = 2 %}", "{% set 'a' = 2 %}", "{% set true = 2 %}", "{% set [a] = [2] %}", "{% set a.b %}", "{% set a() = 1 %}", "{% set (a) = 1 %}{{ a }}", "{% set (a, b) = (1, 2) %}{{ a }}{{ b }}", "{% set %}", "{% set a %}", "{% set a = %}", "{% set a = 1", "{% set a, = [1] %}{{ a }}", "{% set a = 1 if true %}{{ a }}", "{% set n = n + 1 %}{{ n }}", "{% set none = 1 %}",
    "{% set x = x %}[{{ x }}]", "{% set a = s %}{% set s = 'new' %}{{ a }} {{ s }}", "{{ s }}{% set s = 'b' %}{{ s }}",
    # Scopes.
    "{% for i in l %}{% set s = i %}{{ s }}{% endfor %}{{ s }}", "{% for i in l %}{{ s }}{% set s = i %}{% endfor %}", "{% set x = 0 %}{% for i in l %}{% set x = x + i %}{{ x }},{% endfor %}{{ x }}", "{% for i in l %}{% if loop.first %}{% set x = i %}{% endif %}[{{ x }}]{% endfor %}", "{% for i in l %}{% if i == 1 %}{% set s = 'in' %}{% endif %}{{ s }},{% endfor %}",
    "{% for i in l %}{{ s }}{% endfor %}{% set s = 1 %}", "{% if false %}{% set s = 1 %}{% endif %}{{ s }}", "{% if true %}{% set s = 1 %}{% endif %}{{ s }}", "{% if true %}{% set zz = 1 %}{% else %}{% set zz = 2 %}{% endif %}{{ zz }}", "{% if no %}{% set zz = 1 %}{% elif t %}{% set zz = 2 %}{% endif %}{{ zz }}", "{% if no %}{% set s = 1 %}{% elif no %}{% set s = 2 %}{% else %}{% endif %}{{ s }}",
    "{% if false %}{% set s = 1 %}{% endif %}{% for i in [1] %}{{ s }}{% endfor %}", "{% for i in [1] %}{% for j in [2] %}{% set q = i + j %}{% endfor %}[{{ q }}]{% endfor %}", "{% set q = 0 %}{% for i in [1] %}{% for j in [2] %}{{ q }}{% set q = i + j %}{{ q }}{% endfor %}[{{ q }}]{% endfor %}{{ q }}",
    "{% macro m() %}{{ s }}{% endmacro %}{% set s = 'later' %}{{ m() }}", "{% macro m() %}{% set s = 'inner' %}{{ s }}{% endmacro %}{{ m() }}{{ s }}", "{% macro m() %}{% if s is defined %}[{{ s }}]{% endif %}{% set s = 1 %}{{ s }}{% endmacro %}{{ m() }}", "{% macro m() %}{% if zz is not defined %}{% set zz = 'dflt' %}{% endif %}{{ zz }}{% endmacro %}{{ m() }}",
    "{% for x in [1] %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}", "{% if true %}{% macro m() %}x{% endmacro %}{% endif %}{{ m() }}", "{{ m() }}{% macro m() %}x{% endmacro %}", "{% for i in [1] %}{{ m() }}{% endfor %}{% macro m() %}x{% endmacro %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set s = 1 %}{{ s }}{% endwith %}{{ s }}", "{% with a = 1, b = a %}[{{ b }}]{% endwith %}", "{% with s = s ~ '!' %}{{ s }}{% endwith %}{{ s }}", "{% with (a, b) = (1, 2) %}{{ a }}{{ b }}{% endwith %}", "{% with a, b = 1 %}{% endwith %}",
    "{% set a %}{% set b = 1 %}{{ b }}{% endset %}{{ a }}{{ b }}", "{% filter upper %}{% set b = 1 %}x{{ s }}{% endfilter %}{{ b }}", "{% set tools = none if tools is not defined %}[{{ tools }}]", "{% if not zz is defined %}{% set zz = 'set' %}{% endif %}{{ zz }}", "{% set loop = 1 %}{{ loop }}", "{% for i in l %}{% set loop = 1 %}{% endfor %}", "{% for loop in l %}{% endfor %}", "{% for i in l %}{% for loop in l %}{% endfor %}{% endfor %}",
    # If.
    "{% if n %}a{% endif %}", "{% if e %}a{% else %}b{% endif %}", "{% if e %}a{% elif n == 42 %}b{% elif t %}x{% else %}c{% endif %}", "{% if nope %}a{% else %}b{% endif %}", "{% if 1, 2 %}t{% endif %}", "{% if not e and n > 1 or no %}y{% endif %}", "{% if none_list %}a{% elif empty %}b{% elif nil %}c{% elif 0.0 %}d{% else %}e{% endif %}", "{% if true: %}x{% endif %}", "{% if %}{% endif %}", "{% if true %}", "{% if true %}{% else %}{% elif true %}{% endif %}", "{% if true %}{% endfor %}", "{% endif %}", "{% else %}", "{% if true %}{% for x in l %}{% endif %}{% endfor %}", "{% if x = 1 %}{% endif %}", "{% if (1 if false) %}a{% else %}b{% endif %}",
    "{% if true %}a{% if false %}b{% else %}c{% endif %}d{% endif %}", "{% if no %}{{ x | nope }}{% endif %}ok", "{% if t %}{{ s | nope }}{% endif %}", "{% if no %}{{ x is nope }}{% endif %}ok", "{{ (s | nope) if no else 'ok' }}", "{% if no %}{% for i in l %}{{ i | nope }}{% endfor %}{% endif %}", "{% if s is nope %}{% endif %}", "{% set x = s | nope %}", "{% if no %}{{ nope() }}{% endif %}ok",
    # For.
    "{% for x in l %}{{ x }},{% endfor %}", "{% for x in none_list %}{{ x }}{% else %}none{% endfor %}", "{% for x in l %}{{ x }}{% else %}none{% endfor %}", "{% for x in nope %}x{% else %}undef{% endfor %}", "{% for x in nil %}{% endfor %}", "{% for x in n %}{% endfor %}", "{% for c in u %}{{ c }}.{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k, v in d | items %}{{ k }}={{ v }}{{ ',' if not loop.last }}{% endfor %}", "{% for k, v in d | dictsort %}{{ k }}={{ v }};{% endfor %}",
    "{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }};{% endfor %}", "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for a, b in l %}{% endfor %}", "{% for a, b in [(1,)] %}{% endfor %}", "{% for a, b in ['xy'] %}{{ a }}-{{ b }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for x in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.depth }}/{{ loop.depth0 }};{% endfor %}", "{% for x in l %}{{ loop.previtem }}<{{ x }}<{{ loop.nextitem }};{% endfor %}", "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }};{% endfor %}", "{% for x in l %}{{ loop.previtem.y }}{% endfor %}", "{% for x in l %}{% if loop.last %}{{ loop.nextitem.y }}{% endif %}{% endfor %}", "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in l %}{{ loop.cycle() }}{% endfor %}", "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }},{% endfor %}", "{% for x in users %}{% if loop.changed(x.age, 1) %}{{ x.age }};{% endif %}{% endfor %}", "{% for x in l %}{{ loop }}{% endfor %}", "{% for x in l %}{{ loop.nope }}{% endfor %}", "{% for x in l %}{{ loop.nope.x }}{% endfor %}", "{% for x in l %}{{ loop['index'] }}{% endfor %}",
    "{% for x in range(10) if x is odd %}{{ x }}{{ loop.index }}/{{ loop.length }};{% endfor %}", "{% for x in range(5) if x > 10 %}{{ x }}{% else %}none{% endfor %}", "{% for x in range(10) if x % 3 == 0 %}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}", "{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content }}{% endfor %}", "{% for k, v in d.items() if v > 1 %}{{ k }}{% endfor %}", "{% for x in l if nope.x %}{% endfor %}", "{% for x in l if x == n %}{% endfor %}-", "{% for x in l if loop.index %}{% endfor %}", "{% for x in [1, 2] %}{% for y in [1, 2] if y == x %}{{ x }}{{ y }};{% endfor %}{% endfor %}", "{% for x in l if x != 1 recursive %}{{ x }}{% endfor %}",
    "{% for x in l | map('string') %}{{ x }}{{ loop.length }}{{ loop.last }};{% endfor %}", "{% for x in (l | map('string')) %}{{ loop.revindex }}{% endfor %}", "{% for x in l | reverse %}{{ x }}{{ loop.length }}{% endfor %}", "{% for x in l | sort %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}", "{% set g = d | items %}{% for k, v in g %}{{ k }}{% endfor %}{% for k, v in g %}{{ k }}{% endfor %}", "{% set g = l | select('odd') %}{{ g | first }}{{ g | first }}{{ g | first }}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for x in l %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{% endfor %}{% endfor %}", "{% for x in l %}{% for y in [] %}{% else %}{{ loop.index }}{% endfor %}{% endfor %}", "{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{% set x = 'o' %}{% for x in l %}{{ x }}{% endfor %}{{ x }}", "{{ loop }}{% for x in l %}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{{ loop.index }}{% endfor %}", "{% for x in l %}{% continue %}{% else %}else{% endfor %}", "{% for x in l %}{% break %}{% else %}else{% endfor %}", "{% for x in l %}{% if loop.index == 2 %}{% break %}{% endif %}{% else %}else{% endfor %}", "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endfor %};{% endfor %}", "{% break %}", "{% continue %}", "{% if true %}{% break %}{% endif %}", "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}", "{% for x in l %}{% set a %}{{ x }}{% if x == 1 %}{% break %}{% endif %}{% endset %}{{ a }}{% endfor %}", "{% for x in [] %}{% else %}{% break %}{% endfor %}", "{% for x in l %}{% for y in [] %}{% else %}{% break %}{% endfor %}{{ x }}{% endfor %}",
    "{% for x in tree recursive %}{{ x.v }}{% if x.kids %}({{ loop(x.kids) }}){% endif %}{% endfor %}", "{% for x in tree recursive %}{{ loop.depth }}:{{ x.v }} {{ loop(x.kids) if x.kids }}{% endfor %}", "{% for x in l %}{{ loop(x) }}{% endfor %}", "{% for x in tree recursive %}{{ x.v }}{{ loop(x.kids) }}{% else %}-{% endfor %}", "{% for x in tree recursive %}{{ loop.index }}/{{ loop.length }}{{ loop(x.kids or []) }}{% endfor %}", "{% for x in tree recursive %}{{ loop(5) }}{% endfor %}",
    "{% for %}{% endfor %}", "{% for x %}{% endfor %}", "{% for x in %}{% endfor %}", "{% for x in l %}", "{% for x in l", "{% for 1 in l %}{% endfor %}", "{% for x.y in l %}{% endfor %}", "{% for x in l %}{% else %}{% else %}{% endfor %}", "{% for x of l %}{% endfor %}", "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}", "{% for x in l if true else [] %}{{ x }}{% endfor %}", "{% for x in (l if true else []) %}{{ x }}{% endfor %}", "{% for x in l: %}{{ x }}{% endfor %}", "{% for (a, b) in [(1, 2)] %}{{ a }}{% endfor %}", "{% for a, in [(1,)] %}{{ a }}{% endfor %}",
    "{% for i in range(3) %}{{ i }}{% endfor %}", "{% for i in range(3, 0, -1) %}{{ i }}{{ loop.last }}{% endfor %}", "{% for x in d.values() %}{{ x }}{{ loop.length }}{% endfor %}", "{% for x in 'ab' %}{{ loop.nextitem }}{% endfor %}", "{% for m in messages[::-1] %}{{ loop.index0 }}{{ m.role }};{% endfor %}", "{% for m in messages[1:] %}{{ m.role }}{% endfor %}",
    # Macros and calls.
    "{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}|{{ m(1, c='y') }}|{{ m(a=0, b=9) }}|{{ m(1, 2, 3) }}", "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a.x }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}", "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2, 3) }}", "{% macro m(a) %}{{ kwargs }}{% endmacro %}{{ m(1, x=2) }}{{ m(x=2, a=1) }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a=b, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}", "{% macro m(a, b=n) %}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a, a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(1) %}{% endmacro %}", "{% macro m %}{% endmacro %}", "{% macro m( %}{% endmacro %}", "{% macro %}{% endmacro %}", "{% macro m() %}",
    "{% macro m(x) %}{{ x }}{% if x > 0 %}{{ m(x - 1) }}{% endif %}{% endmacro %}{{ m(3) }}", "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}", "{% macro m() %}\n  x\n{% endmacro %}\n[{{ m() }}]", "{% macro m() -%}\n  x\n{%- endmacro %}[{{ m() }}]", "{% macro m() %}x{% endmacro %}{{ m() | upper }}{{ m() ~ 'y' }}{{ m() + 'z' }}{{ m() | length }}", "{% macro m() %}{% endmacro %}{{ m }}{{ m.name }}{{ m.arguments }}{{ m.catch_kwargs }}{{ m.nope }}", "{% macro m(a, b) %}{% endmacro %}{{ m.arguments }}{{ m.catch_varargs }}{{ m.caller }}",
    "{% macro m() %}<{{ caller() }}>{% endmacro %}{% call m() %}body {{ n }}{% endcall %}", "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b=5) m() %}{{ a }}{{ b }}{% endcall %}", "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}", "{% macro m() %}{{ caller is defined }}{{ caller }}{% endmacro %}{{ m() }}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m(caller=none) %}{% if caller %}{{ caller() }}{% else %}no{% endif %}{% endmacro %}{{ m() }}{% call m() %}yes{% endcall %}", "{% macro m(caller) %}{{ caller() }}{% endmacro %}", "{% macro m(x) %}{{ x }}{{ caller() }}{% endmacro %}{% for i in l %}{% call m(i) %}{{ i * 2 }}{% endcall %};{% endfor %}", "{% macro o() %}o{{ caller() }}{% endmacro %}{% macro i() %}i{{ caller() }}{% endmacro %}{% call o() %}{% call i() %}x{% endcall %}{% endcall %}", "{% call nope() %}{% endcall %}", "{% call s %}{% endcall %}", "{% call n() %}{% endcall %}", "{% macro m() %}{{ caller(x=1) }}{% endmacro %}{% call(x) m() %}{{ x }}{% endcall %}", "{% call(x) %}{% endcall %}", "{% macro m() %}{{ caller }}{{ caller.name }}{% endmacro %}{% call m() %}{% endcall %}",
    "{% macro m() %}{{ caller(5) }}{% endmacro %}{% call m() %}{% endcall %}", "{% set m = 5 %}{% macro m() %}x{% endmacro %}{{ m() }}", "{{ f(*l) }}{% macro f() %}{% endmacro %}", "{% macro f(a, b, c) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ f(*l) }}|{{ f(1, *[2, 3]) }}|{{ f(**{'a': 1, 'b': 2, 'c': 3}) }}|{{ f(*[1], **{'b': 2, 'c': 3}) }}|{{ f(1, c=3, *[2]) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(*5) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(**5) }}", "{% macro f(a) %}{{ a }}{% endmacro %}{{ f(**{1: 2}) }}", "{% macro f() %}{{ kwargs }}{% endmacro %}{{ f(a=1, **{'b': 2}) }}", "{% macro f() %}{{ kwargs }}{% endmacro %}{{ f(a=1, **{'a': 2}) }}",
    # Filter blocks, generation, print, with unknown and refused tags.
    "{% filter upper %}abc {{ s }}{% endfilter %}", "{% filter replace('a', 'b') | upper %}banana{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% filter nope %}{% endfilter %}", "{% filter %}{% endfilter %}", "{% filter upper %}", "{% filter trim %}  x  {% endfilter %}|", "{% filter length %}abc{% endfilter %}", "{% for i in l %}{% filter upper %}x{{ i }}{{ loop.index }}{% endfilter %}{% endfor %}",
    "{% generation %}x{{ s }}{% endgeneration %}", "{% for m in messages %}{% generation %}{{ m.role }}{% set q = 1 %}{% endgeneration %}[{{ q }}]{% endfor %}", "a\n  {% generation %}\n  b\n  {% endgeneration %}\nc", "{% generation %}", "{% generation %}{% break %}{% endgeneration %}",
    "{% print n %}", "{% print n, s %}", "{% print %}", "{% do l.append(1) %}", "{% nope %}", "{% endnope %}", "{% for x in l %}{% nope %}{% endfor %}", "{% if true %}{% endwhile %}{% endif %}", "{% 1 %}", "{% 'x' %}", "{% set a = 1 %}{% endset %}", "{% debug %}", "{% trans %}x{% endtrans %}", "{% while true %}{% endwhile %}",
    "a\nb\n{{ 1 +\n }}", "a\n{% if x %}\nb\n{% for y in z %}\n{% endif %}", "\n\n{{ s | nope }}", "\n{% set\n a\n =\n 1 %}{{ a }}\n{{ $ }}", "{{\n\n\n a b }}", "line\n{{ 'a\nb' $ }}", "{# a\nb #}\n{% nope %}", "{% raw %}\n\n{% endraw %}\n{% nope %}",
    # Cyclers and joiners.
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{% set _ = c.reset() %}{{ c.next() }}", "{{ cycler() }}", "{% set j = joiner() %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}", "{% set j = joiner('|') %}{{ j() }}{{ j() }}{{ j() }}", "{% set j = joiner(sep=';') %}{{ j() }}a{{ j() }}b",
    # Errors at run time.
    "{{ raise_exception('no: ' + s) }}", "a{% if n > 1 %}{{ raise_exception('Big!') }}{% endif %}", "{{ 'x' if t else raise_exception('never') }}", "{% set _ = raise_exception('x') %}", "{% for m in messages %}{% if m.role == 'assistant' %}{{ raise_exception('Role ' ~ loop.index) }}{% endif %}{% endfor %}",
    # In the manner of real templates.
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '<|sys|>\\nDefault\\n' }}{% endif %}{{ '<|' + message['role'] + '|>\\n' + message['content'] | trim + '<|end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}",
    "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n{%- for m in loop_messages %}\n    {%- if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}\n        {{- raise_exception('alternate!') }}\n    {%- endif %}\n    {%- if m['role'] == 'user' %}\n        {%- if loop.last and system_message is defined %}\n            {{- '[INST] ' + system_message + '\\n\\n' + m['content'] + '[/INST]' }}\n        {%- else %}\n            {{- '[INST] ' + m['content'] + '[/INST]' }}\n        {%- endif %}\n    {%- elif m['role'] == 'assistant' %}\n        {{- ' ' + m['content']|trim + '</s>' }}\n    {%- endif %}\n{%- endfor %}\n",
    "{%- set ns = namespace(found=false, index=-1) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.found = true %}{%- set ns.index = loop.index0 %}{%- endif %}{%- endfor %}{{ ns.found }} {{ ns.index }}",
    "{%- macro type_of(spec) %}\n    {%- if spec.type == 'array' %}\n        {{- 'list[' + type_of(spec['items']) + ']' }}\n    {%- elif spec.type is string %}\n        {{- spec.type }}\n    {%- elif spec.type is iterable %}\n        {{- spec.type | join(' | ') }}\n    {%- else %}\n        {{- 'any' }}\n    {%- endif %}\n{%- endmacro %}\n{{ type_of({'type': 'array', 'items': {'type': 'array', 'items': {'type': ['a', 'b']}}}) }} {{ type_of({}) }}",
    "{{ '<start_of_turn>' + ('model' if messages[2].role == 'assistant' else messages[2].role) + '\\n' }}{% if messages[2].content is string %}{{ messages[2].content | trim }}{% elif messages[2].content is iterable %}{% for item in messages[2].content %}{% if item.type == 'text' %}{{ item.text }}{% endif %}{% endfor %}{% endif %}",
    "{% for k, v in {'type': 'object', 'properties': {'a': {'type': 'string'}}}.items() %}{{ k | tojson }}: {{ v | tojson }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{%- for m in messages %}\n    {%- set content = m.content if m.content is string else '' %}\n    {%- if m.role == 'user' and not (content.startswith('<t>') and content.endswith('</t>')) %}\n        {{- loop.index0 ~ ':' ~ content.strip() ~ '\\n' }}\n    {%- endif %}\n{%- endfor %}",
    "{% set today = strftime_now('%d %b %Y') if strftime_now is defined else 'unknown' %}Today: {{ today }}", "{% if strftime_now is defined %}{{ strftime_now('%B %-d, %Y') }}{% endif %}",
    "{%- set keys = ['type', 'name'] %}{%- for k, v in {'name': 'f', 'x': 1, 'type': 't'}.items() if k not in keys %}{{ k }}{{ v }}{%- endfor %}",
    "{%- macro render(items, sep=', ') -%}\n{%- for i in items -%}\n{{ i }}{{ sep if not loop.last else '' }}\n{%- endfor -%}\n{%- endmacro -%}\n{{ render(l) }};{{ render(words, sep='/') }}",
    # A whole conversation with tools, in several manners.
    *CONVERSATIONS,
    "{{- {'role': 'user', 'ok': true, 'n': none, 'f': 1.0, 'l': [1, 'x']} -}}", "{{ messages }}", "{{ messages | tojson(indent=2) }}", "{{ users[0] | string }}", "{{ d.items() | list }}{{ d.keys() | list }}",
]


def cases():
    for line in EXPRESSIONS.strip("\n").split("\n"):
        if line in SKIP:
            continue
        yield "{{ " + line + " }}", {"loose": line in LOOSE_ERRORS}
    yield "{{ 'line \\\ncontinued' }}", {}
    for template in TEMPLATES:
        yield template, {"loose": template in LOOSE_ERRORS}
