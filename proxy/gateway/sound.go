package gateway

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
)

// slowest is the least that a second of sound takes, in bytes: 6 kbit/s, the
// lowest rate of Opus. MP3 begins at 8 kbit/s.
const slowest = 750

// soundMillis is how long a sound in Base64 lasts, in milliseconds: of WAV and
// MP3 by what they say themselves, of all else, and of what is behind the last
// frame of an MP3, the most that so many bytes can be. What is no sound but its
// address lasts nothing: nobody knows how long it is.
func soundMillis(text []byte) int64 {
	if bytes.HasPrefix(text, []byte("data:")) {
		comma := bytes.IndexByte(text, ',')
		if comma < 0 {
			return 0
		}
		text = text[comma+1:]
	} else if bytes.HasPrefix(text, []byte("http")) && bytes.Contains(text[:min(len(text), 12)], []byte(":")) {
		return 0 // Base64 has no colon
	}
	s := sound{text: text}
	if n, ok := s.wav(); ok {
		return n
	}
	return s.mp3()
}

// sound is one in Base64, of which single bytes can be read.
type sound struct{ text []byte }

// size is how many bytes it has, at most.
func (s *sound) size() int { return (len(s.text)*3 + 3) / 4 }

// read reads bytes from an offset on; false where there are too few, or they are
// not written as they should be. dst has room for 48.
func (s *sound) read(dst []byte, at int) bool {
	first := at / 3
	last := (at + len(dst) + 2) / 3
	if at < 0 || last*4 > len(s.text) {
		return false
	}
	var plain [54]byte
	n, err := base64.StdEncoding.Decode(plain[:], s.text[first*4:last*4])
	skip := at - first*3
	if err != nil || n < skip+len(dst) {
		return false
	}
	copy(dst, plain[skip:])
	return true
}

// rest is how long what follows an offset can last at most.
func (s *sound) rest(at int) int64 { return (int64(max(s.size()-at, 0))*1000 + slowest - 1) / slowest }

// wav is how long a WAV lasts whose samples are of one size, by its header: that
// is what who plays it goes by.
func (s *sound) wav() (millis int64, ok bool) {
	var head [36]byte
	if !s.read(head[:], 0) || string(head[:4]) != "RIFF" || string(head[8:16]) != "WAVEfmt " {
		return 0, false
	}
	switch binary.LittleEndian.Uint16(head[20:]) {
	case 1, 3, 6, 7, 0xfffe: // PCM, floats, A-law, µ-law, PCM of many channels
	default:
		return 0, false
	}
	second := int64(binary.LittleEndian.Uint32(head[24:])) * int64(binary.LittleEndian.Uint16(head[32:]))
	if second == 0 {
		return 0, false
	}
	return (int64(s.size())*1000 + second - 1) / second, true
}

// Bit rates of MP3's frames in kbit/s and their samples a second, of MPEG 1 and of
// 2; those of MPEG 2.5 are half those of 2.
var (
	frameRates = [2][15]int{
		{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},
	}
	frameSamples = [3]int{44_100, 48_000, 32_000}
)

// mp3 is how long an MP3 lasts, frame by frame; there are some 40 a second.
func (s *sound) mp3() int64 {
	at := 0
	var tag [10]byte
	if s.read(tag[:], 0) && string(tag[:3]) == "ID3" {
		at = 10 + int(tag[6]&0x7f)<<21 + int(tag[7]&0x7f)<<14 + int(tag[8]&0x7f)<<7 + int(tag[9]&0x7f)
	}
	if at > s.size() { // it cannot be: nothing is skipped for its word
		return s.rest(0)
	}
	micros := int64(0)
	for {
		var head [4]byte
		if !s.read(head[:], at) {
			break
		}
		length, lasts := frame(head)
		if length <= 0 {
			break
		}
		at += length
		micros += lasts
	}
	return (micros+999)/1000 + s.rest(at)
}

// frame is the length of a frame of MPEG's third layer in bytes, and how long it
// lasts in microseconds; 0 for what is none.
func frame(head [4]byte) (length int, micros int64) {
	version, layer := head[1]>>3&3, head[1]>>1&3
	rate, sampled, padding := int(head[2]>>4), int(head[2]>>2&3), int(head[2]>>1&1)
	if head[0] != 0xff || head[1]&0xe0 != 0xe0 || version == 1 || layer != 1 || rate == 0 || rate == 15 || sampled == 3 {
		return 0, 0
	}
	table, samples, hertz := 0, 1152, frameSamples[sampled]
	if version != 3 { // MPEG 2, or 2.5
		table, samples, hertz = 1, 576, hertz/2
		if version == 0 {
			hertz /= 2
		}
	}
	return samples/8*1000*frameRates[table][rate]/hertz + padding, (int64(samples)*1_000_000 + int64(hertz) - 1) / int64(hertz)
}
