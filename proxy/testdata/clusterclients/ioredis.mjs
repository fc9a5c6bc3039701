// ioredis' Cluster against Sallyport before a cluster. MODULES HOST PORT USERNAME PASSWORD come from the environment.
import { createRequire } from "node:module";
const require = createRequire(process.env.MODULES + "/");
const Redis = require("ioredis");
const env = process.env;

function same(got, want, what) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    console.error(`${what}: got ${JSON.stringify(got)}, want ${JSON.stringify(want)}`);
    process.exit(1);
  }
}
const c = new Redis.Cluster([{ host: env.HOST, port: Number(env.PORT) }], {
  redisOptions: { username: env.USERNAME, password: env.PASSWORD }, clusterRetryStrategy: null,
});
await Promise.all(Array.from({ length: 100 }, (_, i) => c.set(`js:${i}`, String(i))));
for (let i = 0; i < 100; i++) same(await c.get(`js:${i}`), String(i), "GET");
same(c.nodes().length, 1, "nodes");
same(await c.multi().incr("js:7").get("js:7").exec(), [[null, 8], [null, "8"]], "MULTI");
await c.rpush("js:list", "x");
same(await c.blpop("js:list", 1), ["js:list", "x"], "BLPOP");
const heard = new Promise((resolve) => c.on("message", (channel, m) => resolve([channel, m])));
await c.subscribe("news");
await c.publish("news", "m");
same(await heard, ["news", "m"], "SUBSCRIBE");
c.disconnect();
console.log("ok ioredis");
