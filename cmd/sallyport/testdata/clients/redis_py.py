"""redis-py against Sallyport: one login, the same steps as every other client.

Settings come from the environment: HOST PORT CA CERT KEY USERNAME PASSWORD (both
empty: the certificate logs in) and EXPECT, the user the proxy must name.
"""
import os
import sys

import redis

env = os.environ


def connect(password=None):
    return redis.Redis(
        host=env["HOST"], port=int(env["PORT"]), ssl=True, ssl_ca_certs=env["CA"], ssl_certfile=env["CERT"],
        ssl_keyfile=env["KEY"], ssl_check_hostname=True, username=env["USERNAME"] or None,
        password=(password if password is not None else env["PASSWORD"]) or None, client_name="redis-py",
        decode_responses=True,
    )


def same(got, want, what):
    if got != want:
        sys.exit(f"{what}: got {got!r}, want {want!r}")


r = connect()
same(r.ping(), True, "PING")
same(r.client_getname(), "redis-py", "CLIENT GETNAME")
same(r.execute_command("ACL", "WHOAMI"), env["EXPECT"], "ACL WHOAMI")
same(r.set("app:py", "1"), True, "SET")
with r.pipeline(transaction=False) as p:
    for _ in range(100):
        p.incr("app:py")
    same(p.execute(), list(range(2, 102)), "a pipeline of INCR")
for args in (("GET", "other:key"), ("FLUSHALL",)):
    try:
        r.execute_command(*args)
        sys.exit(f"{args}: was allowed")
    except redis.exceptions.NoPermissionError:
        pass
if env["PASSWORD"]:
    try:
        connect("not it").ping()
        sys.exit("a wrong password was taken")
    except redis.exceptions.ResponseError as e:  # AuthenticationError in later versions, which is one
        if not str(e).startswith(("WRONGPASS", "invalid username-password pair")):
            raise
print("ok redis-py", redis.__version__)
