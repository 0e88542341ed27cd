package tokens

import (
	"encoding/json"
	"strings"
)

// What OpenAI's models are sent around the words, in tokens.
const (
	perMessage = 3 // and its role
	perName    = 1
	perReply   = 3 // that an answer begins with
	perPicture = 765
	lowPicture = 85 // with detail: low
)

// request is what is counted of a request of any kind.
type request struct {
	Messages     []message       `json:"messages"`
	System       content         `json:"system"`
	Instructions content         `json:"instructions"`
	Prompt       content         `json:"prompt"`
	Input        content         `json:"input"`
	Query        content         `json:"query"`
	Documents    content         `json:"documents"`
	Tools        json.RawMessage `json:"tools"`
	Functions    json.RawMessage `json:"functions"`
}

type message struct {
	Role         string          `json:"role"`
	Name         string          `json:"name"`
	Content      content         `json:"content"`
	ToolCalls    json.RawMessage `json:"tool_calls"`
	FunctionCall json.RawMessage `json:"function_call"`
}

// content is words and pictures: a text, or a list of texts, parts and token
// numbers. What is neither counts nothing.
type content struct {
	texts    []string
	pictures int64 // their tokens
	tokens   int64 // given as numbers
}

type part struct {
	Text     string          `json:"text"`
	Type     string          `json:"type"`
	Detail   string          `json:"detail"`
	ImageURL detail          `json:"image_url"`
	Content  json.RawMessage `json:"content"` // of an item of the Responses API, of a tool's result
}

// detail is how closely a picture is to be looked at. It is a text where a
// request has the picture's address alone.
type detail struct{ low bool }

func (d *detail) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '{' {
		var o struct {
			Detail string `json:"detail"`
		}
		if json.Unmarshal(b, &o) == nil {
			d.low = o.Detail == "low"
		}
	}
	return nil
}

// deepest is how far lists and parts lie in each other: those of the APIs are at
// most four deep. Each level is read anew, so what lies deeper is a text.
const deepest = 8

// UnmarshalJSON takes what it knows and refuses nothing: the provider was given
// the request and has answered it.
func (c *content) UnmarshalJSON(b []byte) error {
	c.take(b, 0)
	return nil
}

func (c *content) take(b []byte, depth int) {
	switch {
	case len(b) == 0:
	case depth > deepest:
		c.texts = append(c.texts, string(b))
	case b[0] == '"':
		var text string
		if json.Unmarshal(b, &text) == nil {
			c.texts = append(c.texts, text)
		}
	case b[0] == '{':
		var p part
		if json.Unmarshal(b, &p) == nil {
			c.part(&p, depth)
		}
	case b[0] == '[':
		var items []json.RawMessage
		if json.Unmarshal(b, &items) != nil {
			return
		}
		for _, item := range items {
			if item[0] == '-' || item[0] >= '0' && item[0] <= '9' {
				c.tokens++
				continue
			}
			c.take(item, depth+1)
		}
	}
}

func (c *content) part(p *part, depth int) {
	if p.Text != "" {
		c.texts = append(c.texts, p.Text)
	}
	if p.Type == "image_url" || p.Type == "input_image" || p.Type == "image" {
		if p.ImageURL.low || p.Detail == "low" {
			c.pictures += lowPicture
		} else {
			c.pictures += perPicture
		}
	}
	c.take(p.Content, depth+1)
}

func (c *content) add(o content) {
	c.texts = append(c.texts, o.texts...)
	c.pictures += o.pictures
	c.tokens += o.tokens
}

// Messages is the number of tokens of a request's prompt: of its messages, prompt
// or input, and of its tools. A body that is no JSON object is counted as text.
func Messages(model string, body []byte) int64 {
	var r request
	v := of(model)
	if err := json.Unmarshal(body, &r); err != nil && r.Messages == nil {
		return v.count(string(body))
	}
	var all content
	for _, c := range []content{r.System, r.Instructions, r.Prompt, r.Input, r.Query, r.Documents} {
		all.add(c)
	}
	for i := range r.Messages {
		m := &r.Messages[i]
		all.tokens += perMessage
		all.texts = append(all.texts, m.Role)
		if m.Name != "" {
			all.tokens += perName
			all.texts = append(all.texts, m.Name)
		}
		all.add(m.Content)
		all.texts = append(all.texts, string(m.ToolCalls), string(m.FunctionCall))
	}
	if len(r.Messages) > 0 {
		all.tokens += perReply
	}
	all.texts = append(all.texts, string(r.Tools), string(r.Functions))
	return all.tokens + all.pictures + v.all(all.texts)
}

// all counts texts, each by itself while that is little work.
func (v vocabulary) all(texts []string) int64 {
	size := 0
	for _, t := range texts {
		size += len(t)
	}
	if size > whole {
		return v.count(strings.Join(texts, "\n"))
	}
	var n int64
	for _, t := range texts {
		n += v.count(t)
	}
	return n
}

// Choices is the number of tokens of an answer's choices, a JSON list of objects
// with a message or a text: what was said, thought and called.
func Choices(model string, choices []byte) int64 {
	var list []struct {
		Text    content `json:"text"`
		Message struct {
			Content          content `json:"content"`
			ReasoningContent content `json:"reasoning_content"`
			Reasoning        content `json:"reasoning"`
			Refusal          content `json:"refusal"`
			ToolCalls        []struct {
				Function call `json:"function"`
			} `json:"tool_calls"`
			FunctionCall call `json:"function_call"`
		} `json:"message"`
	}
	if len(choices) == 0 {
		return 0
	}
	v := of(model)
	if json.Unmarshal(choices, &list) != nil {
		return v.count(string(choices))
	}
	var all content
	for i := range list {
		m := &list[i].Message
		all.add(list[i].Text)
		all.add(m.Content)
		if len(m.ReasoningContent.texts) > 0 {
			all.add(m.ReasoningContent)
		} else {
			all.add(m.Reasoning)
		}
		all.add(m.Refusal)
		for j := range m.ToolCalls {
			all.texts = append(all.texts, m.ToolCalls[j].Function.Name, m.ToolCalls[j].Function.Arguments)
		}
		all.texts = append(all.texts, m.FunctionCall.Name, m.FunctionCall.Arguments)
	}
	return v.all(all.texts)
}

type call struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"`
}
