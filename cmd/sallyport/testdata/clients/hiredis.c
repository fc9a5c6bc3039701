/* hiredis against Sallyport, over a TLS hop in front because this version speaks
 * none: one login, the same steps as every other client. Settings come from the
 * environment: HOST PORT USERNAME PASSWORD (both empty: the hop's certificate logs
 * in) and EXPECT, the user the proxy must name. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what, const char *got) {
    fprintf(stderr, "%s: got %s\n", what, got ? got : "nothing");
    exit(1);
}

static redisReply *must(redisContext *c, redisReply *r, const char *what) {
    if (r == NULL) die(what, c->errstr);
    return r;
}

static void text(redisContext *c, redisReply *r, const char *want, const char *what) {
    must(c, r, what);
    if (r->str == NULL || strcmp(r->str, want) != 0) die(what, r->str);
    freeReplyObject(r);
}

static void refused(redisContext *c, redisReply *r, const char *code, const char *what) {
    must(c, r, what);
    if (r->type != REDIS_REPLY_ERROR || strncmp(r->str, code, strlen(code)) != 0) die(what, r->str);
    freeReplyObject(r);
}

int main(void) {
    redisContext *c = redisConnect(getenv("HOST"), atoi(getenv("PORT")));
    if (c == NULL || c->err) die("connect", c ? c->errstr : NULL);
    if (*getenv("PASSWORD")) {
        refused(c, redisCommand(c, "AUTH %s %s", getenv("USERNAME"), "not it"), "WRONGPASS", "a wrong password");
        text(c, redisCommand(c, "AUTH %s %s", getenv("USERNAME"), getenv("PASSWORD")), "OK", "AUTH");
    }
    text(c, redisCommand(c, "PING"), "PONG", "PING");
    text(c, redisCommand(c, "CLIENT SETNAME hiredis"), "OK", "CLIENT SETNAME");
    text(c, redisCommand(c, "CLIENT GETNAME"), "hiredis", "CLIENT GETNAME");
    text(c, redisCommand(c, "ACL WHOAMI"), getenv("EXPECT"), "ACL WHOAMI");
    text(c, redisCommand(c, "SET app:hi 1"), "OK", "SET");
    for (int i = 0; i < 100; i++) redisAppendCommand(c, "INCR app:hi");
    for (int i = 0; i < 100; i++) {
        redisReply *r;
        if (redisGetReply(c, (void **)&r) != REDIS_OK) die("a pipeline of INCR", c->errstr);
        if (r->type != REDIS_REPLY_INTEGER || r->integer != i + 2) die("a pipeline of INCR", r->str);
        freeReplyObject(r);
    }
    refused(c, redisCommand(c, "GET other:key"), "NOPERM", "GET other:key");
    refused(c, redisCommand(c, "FLUSHALL"), "NOPERM", "FLUSHALL");
    redisFree(c);
    printf("ok hiredis %d.%d.%d\n", HIREDIS_MAJOR, HIREDIS_MINOR, HIREDIS_PATCH);
    return 0;
}
