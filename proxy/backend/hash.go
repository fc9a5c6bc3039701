package backend

import (
	"crypto/md5"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// hashes are the functions that twemproxy spreads keys with, by the names of
// its configuration. Where its arithmetic is unusual (characters with a sign, a
// CRC that is never cut to its width) it is so here: data lies where it put it.
var hashes = map[string]func([]byte) uint32{
	"one_at_a_time": hashOneAtATime,
	"md5":           func(k []byte) uint32 { return ketamaPoint(md5.Sum(k), 0) },
	"crc16":         hashCRC16,
	"crc32":         func(k []byte) uint32 { return crc32.ChecksumIEEE(k) >> 16 & 0x7fff },
	"crc32a":        crc32.ChecksumIEEE,
	"fnv1_64":       hashFNV1x64,
	"fnv1a_64":      func(k []byte) uint32 { return hashFNV1a(k, 0x84222325, 0x000001b3) },
	"fnv1_32":       hashFNV1x32,
	"fnv1a_32":      func(k []byte) uint32 { return hashFNV1a(k, 0x811c9dc5, 0x01000193) },
	"hsieh":         hashHsieh,
	"murmur":        hashMurmur,
	"jenkins":       hashJenkins,
}

// signed widens a byte as a C compiler on x86 widens a char.
func signed(b byte) uint32 { return uint32(int32(int8(b))) }

// ketamaPoint takes one of the four numbers in a digest.
func ketamaPoint(sum [md5.Size]byte, i int) uint32 { return binary.LittleEndian.Uint32(sum[4*i:]) }

func hashOneAtATime(k []byte) (h uint32) {
	for _, b := range k {
		h += signed(b)
		h += h << 10
		h ^= h >> 6
	}
	h += h << 3
	h ^= h >> 11
	return h + h<<15
}

func hashCRC16(k []byte) (h uint32) {
	for _, b := range k {
		h = h<<8 ^ uint32(crc16Table[byte(h>>8)^b])
	}
	return h
}

func hashFNV1x64(k []byte) uint32 {
	h := uint64(0xcbf29ce484222325)
	for _, b := range k {
		h *= 0x100000001b3
		h ^= uint64(int64(int8(b)))
	}
	return uint32(h)
}

func hashFNV1x32(k []byte) uint32 {
	h := uint32(0x811c9dc5)
	for _, b := range k {
		h *= 0x01000193
		h ^= signed(b)
	}
	return h
}

func hashFNV1a(k []byte, h, prime uint32) uint32 {
	for _, b := range k {
		h ^= signed(b)
		h *= prime
	}
	return h
}

func hashHsieh(k []byte) (h uint32) {
	rest := k
	for ; len(rest) >= 4; rest = rest[4:] {
		h += uint32(binary.LittleEndian.Uint16(rest))
		h = h<<16 ^ uint32(binary.LittleEndian.Uint16(rest[2:]))<<11 ^ h
		h += h >> 11
	}
	switch len(rest) {
	case 3:
		h += uint32(binary.LittleEndian.Uint16(rest))
		h ^= h << 16
		h ^= signed(rest[2]) << 18
		h += h >> 11
	case 2:
		h += uint32(binary.LittleEndian.Uint16(rest))
		h ^= h << 11
		h += h >> 17
	case 1:
		h += uint32(rest[0])
		h ^= h << 10
		h += h >> 1
	}
	h ^= h << 3
	h += h >> 5
	h ^= h << 4
	h += h >> 17
	h ^= h << 25
	return h + h>>6
}

func hashMurmur(k []byte) uint32 {
	const m = 0x5bd1e995
	n := uint32(len(k))
	h := 0xdeadbeef*n ^ n
	for ; len(k) >= 4; k = k[4:] {
		x := binary.LittleEndian.Uint32(k) * m
		x ^= x >> 24
		h = h*m ^ x*m
	}
	if len(k) > 0 {
		for i, b := range k {
			h ^= uint32(b) << (8 * i)
		}
		h *= m
	}
	h ^= h >> 13
	h *= m
	return h ^ h>>15
}

// hashJenkins is lookup3 with twemproxy's start value.
func hashJenkins(k []byte) uint32 {
	a := 0xdeadbeef + uint32(len(k)) + 13
	b, c := a, a
	for ; len(k) > 12; k = k[12:] {
		a += binary.LittleEndian.Uint32(k)
		b += binary.LittleEndian.Uint32(k[4:])
		c += binary.LittleEndian.Uint32(k[8:])
		a = (a - c) ^ bits.RotateLeft32(c, 4)
		c += b
		b = (b - a) ^ bits.RotateLeft32(a, 6)
		a += c
		c = (c - b) ^ bits.RotateLeft32(b, 8)
		b += a
		a = (a - c) ^ bits.RotateLeft32(c, 16)
		c += b
		b = (b - a) ^ bits.RotateLeft32(a, 19)
		a += c
		c = (c - b) ^ bits.RotateLeft32(b, 4)
		b += a
	}
	if len(k) == 0 {
		return c
	}
	var last [12]byte
	copy(last[:], k)
	a += binary.LittleEndian.Uint32(last[:])
	b += binary.LittleEndian.Uint32(last[4:])
	c += binary.LittleEndian.Uint32(last[8:])
	c = (c ^ b) - bits.RotateLeft32(b, 14)
	a = (a ^ c) - bits.RotateLeft32(c, 11)
	b = (b ^ a) - bits.RotateLeft32(a, 25)
	c = (c ^ b) - bits.RotateLeft32(b, 16)
	a = (a ^ c) - bits.RotateLeft32(c, 4)
	b = (b ^ a) - bits.RotateLeft32(a, 14)
	return (c ^ b) - bits.RotateLeft32(b, 24)
}
