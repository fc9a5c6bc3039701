package proxy

import "github.com/sallyport/sallyport/proxy/backend"

// pace is what holds a session back besides its own replies.
type pace struct {
	holding   *backend.Pipeline // not read because this client does not keep up; nil: none
	share     *share            // in its user's limits; nil: there are none
	metered   uint64            // bytes in and out that the user has been charged with
	alone     bool              // the call on its way has a connection to itself: no other until its reply is there
	announced int               // bytes of the last argument of the call being served, which has not come
	broke     bool              // the user's bytes are spent: not fed until they are paid for
	queued    int               // its place among those who wait for that, counted from 1; 0: none
	strained  bool              // memory is short and it holds more than its share
	begun     begun             // a command that is not whole
	turn      uint64            // how many commands it may have made by the end of this turn
}
