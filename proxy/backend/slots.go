package backend

import "bytes"

// Slots is how many hash slots the keys of a Redis Cluster fall into.
const Slots = 16384

// SlotOf gives the hash slot of a key as Redis Cluster defines it: CRC16 of the
// part between the first { and the next } where that holds anything, else of the
// whole key.
func SlotOf(key []byte) int {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if n := bytes.IndexByte(key[open+1:], '}'); n > 0 {
			key = key[open+1 : open+1+n]
		}
	}
	crc := uint16(0)
	for _, b := range key {
		crc = crc<<8 ^ crc16Table[byte(crc>>8)^b]
	}
	return int(crc) & (Slots - 1)
}

// crc16Table is that of CRC-16/XMODEM: polynomial 0x1021, most significant bit first.
var crc16Table = func() (t [256]uint16) {
	for i := range t {
		crc := uint16(i) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
		t[i] = crc
	}
	return t
}()
