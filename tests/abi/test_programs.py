#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs, natively and in the unikernel: the same output, the same exit status.

usage: test_programs.py HELLO...   (programs of our own that are run too)
"""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import guest  # noqa: E402
import image  # noqa: E402

ENVIRONMENT = ["PATH=/usr/bin:/bin", "HOME=/", "LANG=C", "TZ=UTC", "PYTHONDONTWRITEBYTECODE=1",
               "PYTHONHASHSEED=1"]
PYTHON_STDLIB = "/usr/lib/python3.11"

LUA = """
local t = {}
for i = 1, 20000 do t[i] = string.format('%05d', (i * 7919) % 20011) end
table.sort(t)
local f = io.open('/tmp/lua.txt', 'w'); f:write(table.concat(t, '\\n')); f:close()
local n, s = 0, 0
for line in io.lines('/tmp/lua.txt') do n = n + 1; s = (s * 31 + tonumber(line)) % 1000003 end
print(n, s, #arg, os.getenv('HOME'), os.remove('/tmp/lua.txt'), io.open('/tmp/lua.txt'))
"""
PERL = """
use strict; use warnings; use POSIX qw(floor strftime); use File::Temp qw(tempdir);
my %h; $h{$_ % 97} += $_ for 1..50000;
print join(",", map { "$_=$h{$_}" } sort { $a <=> $b } keys %h), "\\n";
my $d = tempdir(CLEANUP => 1); mkdir "$d/x" or die $!;
for my $i (1..50) { open(my $f, '>', "$d/x/f$i") or die $!; print $f $i x 1000; close $f }
opendir(my $dh, "$d/x") or die $!; my @n = sort grep { !/^\\./ } readdir $dh;
my $s = 0; $s += -s "$d/x/$_" for @n; print scalar(@n), " $s\\n";
rename("$d/x/f1", "$d/x/g1") or die $!;
unlink(map { "$d/x/$_" } grep { $_ ne 'f1' } @n) == 49 or die;
rmdir("$d/x") and die "not empty"; print "$!\\n"; unlink "$d/x/g1"; rmdir "$d/x" or die $!;
print strftime("%Y-%m-%d", gmtime(86400 * 365)), " ", floor(2.7), "\\n";
print +(stat "/usr/bin/perl")[7], "\\n";
"""
PYTHON = """
import hashlib, json, mmap, os, struct, sys, tempfile, zlib, re, collections, decimal, random
import select
random.seed(3)
words = [''.join(random.choice('abcdefgh') for _ in range(4)) for _ in range(30000)]
print(collections.Counter(words).most_common(3))
print(hashlib.sha256(''.join(words).encode()).hexdigest())
data = zlib.compress(json.dumps(words).encode()); print(len(json.loads(zlib.decompress(data))))
with tempfile.TemporaryDirectory() as d:
    path = os.path.join(d, 'file')
    with open(path, 'wb') as f:
        f.truncate(100000)
    with open(path, 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
        for i in range(0, 100000, 4): m[i:i+4] = struct.pack('<I', i * 2654435761 % 2**32)
        m.flush(); f.seek(50000); print(f.read(8).hex(), hashlib.md5(m).hexdigest())
        f.seek(12345); f.write(b'written'); f.flush(); print(m[12340:12355])
    link = os.path.join(d, 'link')
    os.symlink('file', link); print(sorted(os.listdir(d)), os.stat(link).st_size)
    with mmap.mmap(-1, 1 << 20) as m: m[:5] = b'hello'; m.seek(0); print(m.read(6))
    with mmap.mmap(os.open(path, os.O_RDONLY), 0, prot=mmap.PROT_READ) as m: print(zlib.crc32(m))
    m = mmap.mmap(os.open(path, os.O_RDONLY), 0, access=mmap.ACCESS_COPY); m[0:4] = b'copy'
    print(m[:6].hex(), open(path, 'rb').read(4).hex())
r, w = os.pipe(); os.write(w, b'x' * 100); print(len(os.read(r, 1000)))
print(decimal.Decimal(2).sqrt(), re.findall(r'(a+)b', 'aab ab b')[:2], sys.argv, sys.maxsize)
print(select.select([r], [w], [], 0)[1] == [w])
p = select.poll(); p.register(r, select.POLLIN); print(p.poll(1))
e = select.epoll(); e.register(r, select.EPOLLIN); os.write(w, b'1')
print([ev for _, ev in e.poll(1)])
print(os.path.realpath('/proc/self/exe').startswith('/usr/bin/python3'), os.cpu_count() >= 1)
"""
PYTHON_THREADS = """
import threading, queue, concurrent.futures, time, os, zlib
q, out, lock = queue.Queue(3), [], threading.Lock()
def work():
    while (n := q.get()) is not None:
        with lock: out.append(zlib.crc32(str(n).encode() * 1000))
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for n in range(500): q.put(n)
for t in threads: q.put(None)
for t in threads: t.join()
print(len(out), sum(out), threading.active_count())
with concurrent.futures.ThreadPoolExecutor(4) as pool:
    print(sum(pool.map(lambda n: zlib.crc32(bytes([n % 256]) * 100000), range(60))))
e, r, w = threading.Event(), *os.pipe()
threading.Timer(0.02, e.set).start(); print(e.wait(10), e.is_set())
threading.Timer(0.02, lambda: os.write(w, b'late')).start(); print(os.read(r, 10))
c = threading.Condition()
with c: print(c.wait(0.02))
local = threading.local(); local.x = 1
threading.Thread(target=lambda: print(hasattr(local, 'x'))).start()
time.sleep(0.02); print(threading.get_native_id() == os.getpid())
"""
SQL = """
pragma journal_mode=%s;
create table t(a integer primary key, b text, c real);
with recursive n(i) as (select 1 union all select i+1 from n where i<8000)
  insert into t select i, hex(i*7919)||'-'||i, i/7.0 from n;
create index tb on t(b);
begin; update t set b=b||'x' where a%%3=0; rollback;
delete from t where a%%5=0; vacuum;
select count(*), sum(length(b)), round(sum(c),3) from t; select b from t order by b limit 3;
pragma integrity_check;
"""
TEXT = "".join(f"{(i * 7919) % 30011} line {i % 13} {'x' * (i % 50)}\n"
               for i in range(20000)).encode()
AWK = ("{ c[$3]++; s[$3] += length($0); if ($1 > m) m = $1 } "
       "END { n = asorti(c, k); for (i = 1; i <= n; i++) print k[i], c[k[i]], s[k[i]]; print m; "
       'print 1 / 3 > "/tmp/awk.txt"; close("/tmp/awk.txt"); getline x < "/tmp/awk.txt"; print x }')


class Case:
    def __init__(self, name, arguments, stdin=b"", files=(), status=0):
        self.name, self.arguments, self.stdin = name, arguments, stdin
        self.files, self.status = files, status


def cases(hellos):
    result = [Case("hello " + os.path.basename(path), [path, "one", "two words", ""], status=7)
              for path in hellos]
    result += [
        Case("lua5.4", ["/usr/bin/lua5.4", "-e", LUA]),
        Case("gawk", ["/usr/bin/gawk", AWK, "-"], stdin=TEXT),
        Case("perl", ["/usr/bin/perl", "-e", PERL],
             files=[(f, f) for f in ("/usr/share/perl", "/usr/lib/x86_64-linux-gnu/perl",
                                     "/usr/lib/x86_64-linux-gnu/perl-base",
                                     "/usr/share/perl5") if os.path.isdir(f)]),
        Case("sqlite3 in memory", ["/usr/bin/sqlite3", ":memory:"],
             stdin=(SQL % "memory").encode()),
        Case("sqlite3 with a write-ahead log", ["/usr/bin/sqlite3", "/tmp/dilos-abi.db"],
             stdin=(SQL % "wal").encode()),
        Case("sqlite3 with a journal", ["/usr/bin/sqlite3", "/tmp/dilos-abi.db"],
             stdin=(SQL % "delete").encode()),
        Case("python3", ["/usr/bin/python3", "-c", PYTHON, "argument"],
             files=[(PYTHON_STDLIB, PYTHON_STDLIB)]),
        Case("sort", ["/usr/bin/sort", "-k3,3n", "-k1,1nr", "-S", "1M", "--parallel=1"],
             stdin=TEXT),
        Case("zstd", ["/usr/bin/zstd", "--single-thread", "--no-asyncio", "-6", "-c", "-q"],
             stdin=TEXT),
        Case("zstd, two threads", ["/usr/bin/zstd", "-T2", "-B256K", "-6", "-c", "-q"],
             stdin=TEXT * 8),
        Case("sort, four threads", ["/usr/bin/sort", "-k3,3n", "-k1,1nr", "--parallel=4"],
             stdin=TEXT * 4),
        Case("python3, threads", ["/usr/bin/python3", "-c", PYTHON_THREADS],
             files=[(PYTHON_STDLIB, PYTHON_STDLIB)]),
        Case("cat", ["/usr/bin/cat", "-n", "-", "/etc/passwd", "/not/there"], stdin=b"one\ntwo\n",
             status=1),
        Case("ls", ["/usr/bin/ls", "-a", "/usr/bin/ls", "/not/there"], status=2),
        Case("sha256sum", ["/usr/bin/sha256sum", "/usr/bin/sha256sum", "-"], stdin=TEXT),
    ]
    return result


def run_natively(case):
    for name in ("/tmp/dilos-abi.db", "/tmp/dilos-abi.db-wal", "/tmp/dilos-abi.db-shm"):
        if os.path.exists(name):
            os.unlink(name)
    return subprocess.run(case.arguments, input=case.stdin, env=dict(
        e.split("=", 1) for e in ENVIRONMENT), capture_output=True, cwd="/", timeout=100,
        check=False)


def run_case(folder, case):
    """A list of complaints."""
    wanted = run_natively(case)
    root = image.make(f"{folder}/root.img", [case.arguments[0]], case.files)
    if case.name == "cat":  # the one file that the image holds a version of its own of
        wanted.stdout = (wanted.stdout.split(b"     3\t")[0] +
                         b"     3\troot:x:0:0:root:/root:/bin/sh\n")
    got = guest.run(case.arguments, root, ENVIRONMENT, case.stdin, memory="192M")
    bad = []
    if wanted.returncode != case.status:
        bad.append(f"natively: status {wanted.returncode}, {wanted.stderr[-500:]}")
    if (got.kind, got.code) != ("exited", case.status):
        bad.append("did not exit as it does natively")
    if got.out != wanted.stdout:
        bad.append(f"stdout differs: natively {len(wanted.stdout)} bytes {wanted.stdout[:1000]}")
    if got.err != wanted.stderr:
        bad.append(f"stderr differs: natively {wanted.stderr[:1000]}")
    return bad + [str(got)] if bad else []


def main():
    todo = cases([os.path.abspath(p) for p in sys.argv[1:]])
    print(f"1..{len(todo)}")
    failed = 0
    with tempfile.TemporaryDirectory(prefix="dilos-abi-") as folder:
        for number, case in enumerate(todo, 1):
            if not os.path.exists(case.arguments[0]):
                print(f"ok {number} - {case.name} # SKIP {case.arguments[0]} is not installed")
                continue
            bad = run_case(folder, case)
            for line in "\n".join(bad).splitlines():
                print(f"# {line}")
            failed += 1 if bad else 0
            print(f"{'not ok' if bad else 'ok'} {number} - {case.name}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
