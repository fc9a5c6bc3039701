// node-redis against Sallyport: one login, the same steps as every other client.
// Settings come from the environment: HOST PORT CA CERT KEY USERNAME PASSWORD
// (both empty: the certificate logs in), EXPECT, the user the proxy must name, and
// RESP, 2 or 3.
import fs from "node:fs";
import { createRequire } from "node:module";
const require = createRequire(process.env.MODULES + "/");
const { createClient, ErrorReply } = require("redis");
const env = process.env;

function connect(password = env.PASSWORD) {
  const client = createClient({
    RESP: Number(env.RESP), username: env.USERNAME || undefined, password: password || undefined, name: "node-redis",
    disableClientInfo: false,
    socket: {
      host: env.HOST, port: Number(env.PORT), tls: true, reconnectStrategy: false,
      ca: fs.readFileSync(env.CA), cert: fs.readFileSync(env.CERT), key: fs.readFileSync(env.KEY),
    },
  });
  client.on("error", () => {});
  return client;
}
function same(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    console.error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
    process.exit(1);
  }
}

const r = connect();
await r.connect();
same(await r.ping(), "PONG", "PING");
same(await r.clientGetName(), "node-redis", "CLIENT GETNAME");
same(await r.sendCommand(["ACL", "WHOAMI"]), env.EXPECT, "ACL WHOAMI");
same(await r.set("app:node", "1"), "OK", "SET");
same(await Promise.all(Array.from({ length: 100 }, () => r.incr("app:node"))), Array.from({ length: 100 }, (_, i) => i + 2), "a pipeline of INCR");
for (const call of [["GET", "other:key"], ["FLUSHALL"]]) {
  const err = await r.sendCommand(call).then(() => null, (e) => e);
  if (!(err instanceof ErrorReply) || !err.message.startsWith("NOPERM")) {
    console.error(`${call.join(" ")}: ${err ? err : "was allowed"}`);
    process.exit(1);
  }
}
if (env.PASSWORD) {
  const bad = connect("not it");
  const err = await bad.connect().then(() => null, (e) => e);
  if (!err || !err.message.startsWith("WRONGPASS")) {
    console.error(`a wrong password: ${err ? err.message : "was taken"}`);
    process.exit(1);
  }
}
r.destroy();
console.log("ok node-redis", require("redis/package.json").version, "RESP", env.RESP);
