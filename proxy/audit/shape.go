package audit

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// Format is how a sink's lines look.
type Format uint8

// The formats. Lines about the record itself (chain, dropped) look the same in
// all of them.
const (
	// Native is the product's own: every event, every field.
	Native Format = iota
	// Azure is the shape of Azure's ConnectionEvents and ConnectedClientList
	// categories: new_conn, auth, close_conn and clients only.
	Azure
	// RedisEnterprise is the shape of Redis Enterprise's auditing: new_conn, auth
	// and close_conn only.
	RedisEnterprise
)

// KeyMode is what a sink shows of the keys and channels of calls.
type KeyMode uint8

// The modes.
const (
	KeysFull   KeyMode = iota
	KeysHash           // "hmac:" or "sha256:" and 16 hexadecimal digits: equal keys can be told, not read
	KeysPrefix         // up to the first colon, "…" for the rest
	KeysOff            // no keys field
)

// shape is one way of encoding events; sinks that want the same share it.
type shape struct {
	format Format
	keys   KeyMode
	secret *Key // of the hash of keys; nil: none

	digest hash.Hash // of KeysHash, made when first needed
	text   []byte    // the event being recorded, with its line end; empty: not for this format
}

// encode makes text. It belongs to the Recorder, under its lock.
func (s *shape) encode(e *Event) {
	s.text = s.text[:0]
	switch s.format {
	case Azure:
		s.text = appendAzure(s.text, e)
	case RedisEnterprise:
		s.text = appendEnterprise(s.text, e)
	default:
		s.text = appendNative(s.text, e, s)
	}
	if len(s.text) > 0 {
		s.text = append(s.text, '\n')
	}
}

// appendKey appends one key or channel, as much of it as may be shown.
func (s *shape) appendKey(dst, key []byte) []byte {
	switch s.keys {
	case KeysHash:
		return s.appendHashed(dst, key)
	case KeysPrefix:
		i := bytes.IndexByte(key, ':') + 1
		if i == len(key) && i > 0 {
			return appendText(dst, key, maxKey)
		}
		dst = appendText(dst, key[:i], maxKey-len("…"))
		return append(dst[:len(dst)-1], "…\""...)
	}
	return appendText(dst, key, maxKey)
}

func (s *shape) appendHashed(dst, key []byte) []byte {
	word := `"sha256:`
	if s.secret != nil {
		word = `"hmac:`
	}
	if s.digest == nil {
		s.digest = sha256.New()
		if s.secret != nil {
			s.digest = hmac.New(sha256.New, s.secret.secret)
		}
	}
	s.digest.Reset()
	s.digest.Write(key)
	var sum [sha256.Size]byte
	dst = append(dst, word...)
	dst = hex.AppendEncode(dst, s.digest.Sum(sum[:0])[:8])
	return append(dst, '"')
}
