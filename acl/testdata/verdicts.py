"""Plays the client side of the comparison with a real server: reads cases, one
JSON object a line, from standard input, asks the server at the unix socket
given, and writes one verdict a line. CONTRIBUTING.md says what is in them."""

import json
import sys

import redis


def ask(server, *words):
    try:
        answer = server.execute_command(*words)
    except redis.ResponseError as error:
        # The library takes the code ERR off.
        text = str(error)
        return "-" + (text if text.split(" ")[0].isupper() else "ERR " + text)
    if answer is True:
        return "OK"
    return answer.decode() if isinstance(answer, bytes) else str(answer)


def main():
    server = redis.Redis(unix_socket_path=sys.argv[1])
    server.response_callbacks.clear()
    user, rules = None, None
    for line in sys.stdin:
        case = json.loads(line)
        if case["user"] != user:
            user, rules = case["user"], ask(server, "ACL", "SETUSER", "u", "reset", *case["rules"])
        answer = ask(server, "ACL", "DRYRUN", "u", *case["call"]) if "call" in case else rules
        print(json.dumps({"n": case["n"], "answer": answer}))


main()
