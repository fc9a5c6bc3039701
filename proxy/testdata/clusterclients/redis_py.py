"""redis-py's RedisCluster against Sallyport before a cluster. HOST PORT USERNAME PASSWORD come from the environment."""
import os
import sys

from redis.cluster import RedisCluster

env = os.environ


def same(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


r = RedisCluster(
    host=env["HOST"], port=int(env["PORT"]), username=env["USERNAME"], password=env["PASSWORD"], decode_responses=True,
    read_from_replicas=True,
)
same(len(r.get_nodes()), 1, "nodes")
with r.pipeline() as p:
    for i in range(100):
        p.set(f"py:{i}", i)
    same(p.execute(), [True] * 100, "a pipeline of SET")
for i in range(100):
    same(r.get(f"py:{i}"), str(i), "GET")
same(r.mset_nonatomic({"py:1": "a", "py:2": "b"}), [True, True], "MSET")
same(r.rpush("py:list", "x"), 1, "RPUSH")
same(r.blpop("py:list", timeout=1), ("py:list", "x"), "BLPOP")
same(sorted(k for k in r.scan_iter(match="py:*", count=1000)), sorted(f"py:{i}" for i in range(100)), "SCAN")
print("ok redis-py")
