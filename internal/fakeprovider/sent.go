package fakeprovider

import (
	"bytes"
	"encoding/json"
)

// Sent is what the first bytes of a streamed answer's body tell.
type Sent struct {
	Events int    // whole content events; each is one token as the usage chunk counts
	Text   string // their text
	Usage  bool   // the usage chunk is whole
	Done   bool   // data: [DONE] is whole
}

// AnswerID is the id in the answer that follows from a seed.
func AnswerID(seed string) string { return string(appendID(nil, hash(seed))) }

// Sent tells what a client can know that has received n bytes of the streamed
// answer, of which every event is complete with its blank line only.
func (s Shape) Sent(seed string, usage bool, n int64) Sent {
	var got Sent
	var event []byte
	content := s.Events.pick(hash(seed))
	for i, chunks := 0, s.Chunks(seed, usage); i < chunks; i++ {
		event = s.appendEvent(event[:0], seed, Model, usage, i, nil)
		if n -= int64(len(event)); n < 0 {
			break
		}
		switch {
		case i == chunks-1:
			got.Done = true
		case usage && i == chunks-2:
			got.Usage = true
		case i > 0 && i <= content:
			got.Events++
			got.Text += textOf(event)
		}
	}
	return got
}

// textOf is the text of a content event.
func textOf(event []byte) string {
	var chunk struct {
		Choices []struct {
			Delta struct {
				Content string `json:"content"`
			} `json:"delta"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(bytes.TrimPrefix(event, []byte("data: ")), &chunk); err != nil || len(chunk.Choices) == 0 {
		panic("BUG: an event of a stream is no JSON: " + string(event))
	}
	return chunk.Choices[0].Delta.Content
}
