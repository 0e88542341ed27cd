package dialect

import (
	"sluice/proxy/jsonscan"
	"sluice/proxy/llm"
)

// appendOpenAIError writes OpenAI's error object in LiteLLM's field order.
func appendOpenAIError(dst []byte, e *llm.Error) []byte {
	if e.Body != nil {
		return append(dst, e.Body...)
	}
	if e.Detail {
		dst = append(dst, `{"detail":`...)
		dst = jsonscan.AppendString(dst, e.Message)
		return append(dst, '}')
	}
	dst = append(dst, `{"error":{"message":`...)
	dst = jsonscan.AppendString(dst, e.Message)
	dst = append(dst, `,"type":`...)
	dst = jsonscan.AppendString(dst, e.TypeName())
	dst = append(dst, `,"param":`...)
	if e.Param == "" {
		dst = append(dst, "null"...)
	} else {
		dst = jsonscan.AppendString(dst, e.Param)
	}
	dst = append(dst, `,"code":`...)
	dst = jsonscan.AppendString(dst, e.CodeText())
	return append(dst, "}}"...)
}
