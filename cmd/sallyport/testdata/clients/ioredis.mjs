// ioredis against Sallyport: one login, the same steps as every other client.
// Settings come from the environment: HOST PORT CA CERT KEY USERNAME PASSWORD
// (both empty: the certificate logs in) and EXPECT, the user the proxy must name.
import fs from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(process.env.MODULES + "/");
const Redis = require("ioredis");
const env = process.env;

function connect(password = env.PASSWORD) {
  return new Redis({
    host: env.HOST, port: Number(env.PORT), username: env.USERNAME || undefined, password: password || undefined,
    connectionName: "ioredis", lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0,
    tls: { ca: fs.readFileSync(env.CA), cert: fs.readFileSync(env.CERT), key: fs.readFileSync(env.KEY) },
  });
}
function same(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    console.error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
    process.exit(1);
  }
}
async function refused(promise, code, what) {
  const err = await promise.then(() => null, (e) => e);
  if (!err || !String(err.message).startsWith(code)) {
    console.error(`${what}: ${err ? err.message : "was allowed"}`);
    process.exit(1);
  }
  return err;
}

const r = connect();
await r.connect();
same(await r.ping(), "PONG", "PING");
same(await r.client("GETNAME"), "ioredis", "CLIENT GETNAME");
same(await r.call("ACL", "WHOAMI"), env.EXPECT, "ACL WHOAMI");
same(await r.set("app:io", "1"), "OK", "SET");
const p = r.pipeline();
for (let i = 0; i < 100; i++) p.incr("app:io");
same(await p.exec(), Array.from({ length: 100 }, (_, i) => [null, i + 2]), "a pipeline of INCR");
for (const call of [["get", "other:key"], ["flushall"]]) {
  const err = await refused(r.call(...call), "NOPERM", call.join(" "));
  same(err.name, "ReplyError", `the error of ${call[0]}`);
}
if (env.PASSWORD) {
  const bad = connect("not it");
  const said = [];
  bad.on("error", (e) => said.push(e.message));
  await bad.connect().then(() => bad.ping()).catch((e) => said.push(e.message));
  if (!said.some((m) => m.startsWith("WRONGPASS"))) {
    console.error(`a wrong password: ${said.join("; ") || "was taken"}`);
    process.exit(1);
  }
  bad.disconnect();
}
r.disconnect();
console.log("ok ioredis", require("ioredis/package.json").version);
