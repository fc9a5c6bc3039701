package command

import (
	"strings"
	"sync"
)

// reviewed is the class of every command somebody has looked at. A command not
// named here is Pinned. Whoever adds a line to Shared states that the command
// leaves nothing behind on its connection and cannot keep that connection
// waiting for another client: a mistake there gives one client's state, or
// wait, to another. testdata/classes.golden shows the outcome, name by name.
var reviewed = []struct {
	class Class
	names string
}{
	// Answered by the proxy: who the client is, what its connection is like, and
	// what commands there are. A backend connection's identity never shows, so
	// all of CLIENT belongs here, refusals included.
	{Local, `auth hello ping echo quit reset select
		acl acl|cat acl|deluser acl|dryrun acl|genpass acl|getuser acl|help acl|list acl|load acl|log acl|save
		acl|setuser acl|users acl|whoami
		client client|caching client|capa client|getname client|getredir client|help client|id
		client|import-source client|info client|kill client|list client|no-evict client|no-touch client|pause
		client|reply client|setinfo client|setname client|tracking client|trackinginfo client|unblock
		client|unpause
		command command|count command|docs command|getkeys command|getkeysandflags command|help command|info
		command|list`},

	// Their answers are no RESP, or there is none: a stream of replication data
	// behind which nothing on that connection can be understood.
	{Refused, `sync psync replconf cluster|syncslots`},
	// Spoken between the nodes of a cluster only.
	{Refused, `_ft.config _ft.config|get _ft.config|help _ft.config|set ft._debug ft.internal_update
		search.clusterinfo search.clusterrefresh search.clusterset timeseries.clusterset
		timeseries.refreshcluster`},

	// State on the connection: a transaction, watched keys, subscriptions, a
	// mode, prepared imports, an output of its own.
	{Pinned, `multi exec discard watch unwatch
		subscribe unsubscribe psubscribe punsubscribe ssubscribe sunsubscribe
		readonly readwrite asking monitor script|debug
		himport himport|discard himport|discardall himport|prepare himport|set`},
	// Waits for other clients, or for replicas.
	{Pinned, `blpop brpop blmove blmovem brpoplpush blmpop bzpopmin bzpopmax bzmpop wait waitaof ts.read`},
	// Must arrive while a script keeps the server busy: on a shared connection
	// they would stand behind that very script, unread.
	{Pinned, `script|kill function|kill function|stats`},
	// Ends the connection, stops the server, or takes its time about it.
	{Pinned, `shutdown failover debug migrate restore-asking save bgsave bgrewriteaof replicaof slaveof
		module|load module|loadex module|unload`},
	// Worker threads answer these while the connection waits: one tenant's
	// search must not hold up the others.
	{Pinned, `ft.search ft.aggregate ft.hybrid ft.profile ft.cursor|read ft.explain ft.spellcheck ft.tagvals
		vadd vsim`},

	// Keys of any type.
	{Shared, `copy del delex delifeq dump exists expire expireat expiretime move persist pexpire pexpireat
		pexpiretime pttl rename renamenx restore sort sort_ro touch ttl type unlink
		object|encoding object|freq object|help object|idletime object|refcount`},
	// Strings and bits.
	{Shared, `append decr decrby digest get getdel getex getrange getset incr incrby incrbyfloat increx lcs mget
		mset msetex msetnx psetex set setex setnx setrange strlen substr
		bitcount bitfield bitfield_ro bitop bitpos getbit setbit`},
	{Shared, `hdel hexists hexpire hexpireat hexpiretime hget hgetall hgetdel hgetex hincrby hincrbyfloat hkeys
		hlen hmget hmset hpersist hpexpire hpexpireat hpexpiretime hpttl hrandfield hscan hset hsetex hsetnx
		hstrlen httl hvals`},
	{Shared, `lindex linsert llen lmove lmovem lmpop lpop lpos lpush lpushx lrange lrem lset ltrim rpop rpoplpush
		rpush rpushx`},
	{Shared, `sadd scard sdiff sdiffcard sdiffstore sinter sintercard sinterstore sismember smembers smismember
		smove spop srandmember srem sscan sunion sunioncard sunionstore`},
	{Shared, `zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop zmscore
		zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex
		zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore
		zunion zunionstore`},
	{Shared, `geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro
		geosearch geosearchstore pfadd pfcount pfmerge`},
	// XREAD and XREADGROUP with BLOCK wait: such a call is Pinned, see xreadKeys.
	{Shared, `xack xackdel xadd xautoclaim xcfgset xclaim xdel xdelex xlen xnack xpending xrange xread xreadgroup
		xrevrange xsetid xtrim
		xgroup|create xgroup|createconsumer xgroup|delconsumer xgroup|destroy xgroup|help xgroup|setid
		xinfo|consumers xinfo|groups xinfo|help xinfo|stream`},
	{Shared, `publish spublish pubsub|channels pubsub|help pubsub|numpat pubsub|numsub pubsub|shardchannels
		pubsub|shardnumsub`},
	// A script runs for a client of its own inside the server: what it selects
	// or sets ends with it, and blocking commands do not block in it. (SCRIPT
	// DEBUG is the exception, and Pinned.)
	{Shared, `eval eval_ro evalsha evalsha_ro fcall fcall_ro script|exists script|flush script|help script|load
		script|show function|delete function|dump function|flush function|help function|list function|load
		function|restore`},
	// The server and its keyspace as a whole.
	{Shared, `dbsize flushall flushdb info keys lastsave lolwut randomkey role scan swapdb time
		config|get config|help config|resetstat config|rewrite config|set
		latency|doctor latency|graph latency|help latency|histogram latency|history latency|latest
		latency|reset
		memory|doctor memory|help memory|malloc-stats memory|purge memory|stats memory|usage
		module|help module|list
		slowlog|get slowlog|help slowlog|len slowlog|reset
		commandlog|get commandlog|help commandlog|len commandlog|reset
		cluster|count-failure-reports cluster|countkeysinslot cluster|getkeysinslot cluster|help cluster|info
		cluster|keyslot cluster|links cluster|myid cluster|myshardid cluster|nodes cluster|replicas
		cluster|shards cluster|slaves cluster|slot-stats cluster|slots`},
	// Arrays: the cursor of ARINSERT and ARSEEK belongs to the key.
	{Shared, `arcount ardel ardelrange arget argetrange argrep arinfo arinsert arlastitems arlen armget armset arnext
		arop arring arscan arseek arset`},
	// Its cursor holds all of the position.
	{Shared, `clusterscan`},
	// Modules: plain data types.
	{Shared, `json.arrappend json.arrindex json.arrinsert json.arrlen json.arrpop json.arrtrim json.clear json.del
		json.forget json.get json.merge json.mget json.mset json.numincrby json.nummultby json.numpowby
		json.objkeys json.objlen json.resp json.set json.strappend json.strlen json.toggle json.type`},
	{Shared, `bf.add bf.card bf.exists bf.info bf.insert bf.loadchunk bf.madd bf.mexists bf.reserve bf.scandump
		cf.add cf.addnx cf.count cf.del cf.exists cf.info cf.insert cf.insertnx cf.loadchunk cf.mexists
		cf.reserve cf.scandump
		cms.incrby cms.info cms.initbydim cms.initbyprob cms.merge cms.query
		topk.add topk.count topk.incrby topk.info topk.list topk.query topk.reserve
		tdigest.add tdigest.byrank tdigest.byrevrank tdigest.cdf tdigest.create tdigest.info tdigest.max
		tdigest.merge tdigest.min tdigest.quantile tdigest.rank tdigest.reset tdigest.revrank
		tdigest.trimmed_mean`},
	{Shared, `ts.add ts.alter ts.create ts.createrule ts.decrby ts.del ts.deleterule ts.get ts.incrby ts.info
		ts.madd ts.range ts.revrange`},
	{Shared, `vcard vdim vemb vgetattr vinfo vismember vlinks vrandmember vrange vrem vsetattr`},
}

// classes is the reviewed column by name.
var classes = sync.OnceValue(func() map[string]Class {
	m := make(map[string]Class)
	for _, r := range reviewed {
		for _, name := range strings.Fields(r.names) {
			m[name] = r.class
		}
	}
	return m
})

// classOf gives the class of a command's plain shape. The inner debugging
// commands of the search module are Refused as a family: their list changes
// between builds.
func classOf(name string) Class {
	if class, ok := classes()[name]; ok {
		return class
	}
	if name == "_ft.debug" || strings.HasPrefix(name, "_ft.debug|") {
		return Refused
	}
	return Pinned
}
