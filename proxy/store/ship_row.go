package store

import (
	"strconv"

	"sluice/proxy/bill"
	"sluice/proxy/llm"
)

// spendFields are the columns of spend as shipping writes them.
func spendFields() []field {
	out := make([]field, 0, len(spendNames)+2)
	for i, name := range spendNames {
		out = append(out, field{name, spendSorts[i]})
	}
	return append(out, field{"project_id", asText}, field{"sequence", asInt})
}

// fillRow writes an attempt into a block of spendFields.
func fillRow(b *block, r *bill.Attempt, slim bool, scratch []byte) []byte {
	if slim {
		r = slimmed(r)
	}
	u := &r.Usage
	b.uuid(&r.RequestID)
	b.int(r.Attempt)
	b.text(r.Status.String())
	b.int(int64(r.HTTPStatus))
	b.kept(r.ErrorKind)
	b.kept(r.CallType)
	b.bool(r.Streamed)
	b.time(r.Intent.At)
	if r.FirstByteAt == 0 {
		b.null()
	} else {
		b.time(r.FirstByteAt)
	}
	b.time(r.Settle.At)
	for _, s := range [...]string{
		r.Token, r.User, r.Team, r.Organization, r.EndUser, r.Model, r.ModelID, r.Provider, r.ProviderModel, r.ProviderID, r.CallID, r.Session,
	} {
		b.kept(s)
	}
	for _, n := range [...]int64{u.Input, u.Output, u.Total, u.CachedIn, u.CacheWrite, u.Reasoning} {
		b.int(n)
	}
	scratch = appendDetail(scratch[:0], u)
	if len(scratch) == 0 {
		b.null()
	} else {
		b.json(scratch)
	}
	b.bool(u.Estimated)
	b.int(int64(r.Cost))
	b.int(r.Price)
	b.bool(r.CacheHit)
	b.kept(r.ClientAddress)
	b.kept(r.Host)
	if len(r.Tags) == 0 {
		b.null()
	} else {
		scratch = appendTags(scratch[:0], r.Tags)
		b.json(scratch)
	}
	b.json(documentOf(r.Metadata))
	b.kept(r.Project)
	b.int(r.Sequence)
	return scratch
}

// slimmed is what is kept of a row where none are to be kept: it counts once,
// and says what it cost and when.
func slimmed(r *bill.Attempt) *bill.Attempt {
	out := &bill.Attempt{Host: r.Host, Sequence: r.Sequence}
	out.RequestID, out.Attempt, out.Intent.At, out.Settle.At = r.RequestID, r.Attempt, r.Intent.At, r.Settle.At
	out.Status, out.Cost = r.Status, r.Cost
	return out
}

// appendDetail writes what has no column of its own as a JSON object, nothing
// where there is nothing. The names are those of llm.Usage in small letters.
func appendDetail(dst []byte, u *llm.Usage) []byte {
	from := len(dst)
	add := func(name string, n int64) {
		if n == 0 {
			return
		}
		c := byte(',')
		if len(dst) == from {
			c = '{'
		}
		dst = append(append(append(dst, c, '"'), name...), '"', ':')
		dst = strconv.AppendInt(dst, n, 10)
	}
	add("cached_audio_tokens", u.CachedAudio)
	add("cached_image_tokens", u.CachedImage)
	add("cache_write_1h_tokens", u.CacheWriteHour)
	add("audio_input_tokens", u.AudioIn)
	add("image_input_tokens", u.ImageIn)
	add("video_input_tokens", u.VideoIn)
	add("audio_output_tokens", u.AudioOut)
	add("image_output_tokens", u.ImageOut)
	add("video_output_tokens", u.VideoOut)
	add("citation_tokens", u.Citations)
	add("input_images", u.ImagesIn)
	add("output_images", u.Images)
	add("output_pixels", u.Pixels)
	add("milliseconds", u.Millis)
	add("output_milliseconds", u.MillisOut)
	add("video_milliseconds", u.VideoMillis)
	add("input_characters", u.Characters)
	add("output_characters", u.CharactersOut)
	add("queries", u.Queries)
	add("searches", u.Searches)
	add("map_queries", u.MapQueries)
	add("file_searches", u.FileSearches)
	add("sessions", u.Sessions)
	add("pages", u.Pages)
	add("annotated_pages", u.Annotated)
	add("search_context", int64(u.SearchSize))
	if u.Priced {
		add("charged_nanodollars", u.Charged)
	}
	if u.Tier != llm.TierStandard {
		c := byte(',')
		if len(dst) == from {
			c = '{'
		}
		dst = append(dst, c)
		dst = append(append(append(dst, `"service_tier":"`...), u.Tier.String()...), '"')
	}
	if len(dst) > from {
		dst = append(dst, '}')
	}
	return dst
}
