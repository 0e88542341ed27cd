//go:build ignore

// This program makes table.bin from LiteLLM's table of prices and limits, a
// JSON object of model name to fields. See price.go for the form.
package main

import (
	"bytes"
	"cmp"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
)

const blockSize = 64 // entries; what one look-up inflates at most

func main() {
	from := flag.String("from", "", "the table as JSON, gzip or not")
	source := flag.String("source", "", "what it is, for those who ask")
	date := flag.String("date", "", "day of the table, YYYY-MM-DD")
	flag.Parse()
	if err := run(*from, *source, *date); err != nil {
		slog.Error("the table was not made", slog.Any("error", err))
		os.Exit(1)
	}
}

func run(from, source, date string) error {
	if from == "" || source == "" || len(date) != len("2006-01-02") {
		return errors.New("-from, -source and -date are needed")
	}
	models, err := read(from)
	if err != nil {
		return err
	}
	delete(models, "sample_spec") // documentation of the fields
	data, places, offsets, err := pack(models)
	if err != nil {
		return err
	}
	about, err := json.Marshal(map[string]string{"source": source, "date": date})
	if err != nil {
		return err
	}
	out := []byte("SLPRICE1")
	out = binary.BigEndian.AppendUint32(out, uint32(len(about)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(places)))
	out = binary.BigEndian.AppendUint32(out, uint32(len(offsets)-1))
	out = append(out, about...)
	for _, p := range places {
		out = binary.BigEndian.AppendUint32(out, p.hash)
		out = binary.BigEndian.AppendUint16(out, p.block)
	}
	for _, o := range offsets {
		out = binary.BigEndian.AppendUint32(out, o)
	}
	return os.WriteFile("table.bin", append(out, data...), 0o644)
}

// place says in which block a model is.
type place struct {
	hash  uint32
	block uint16
}

// pack compresses the models in blocks, in the order of their names: likes
// beside likes compress well.
func pack(models map[string]json.RawMessage) (data []byte, places []place, offsets []uint32, err error) {
	names := slices.Sorted(maps.Keys(models))
	offsets = []uint32{0}
	lower := map[string]string{}
	for _, name := range names {
		if other, twice := lower[strings.ToLower(name)]; twice {
			return nil, nil, nil, fmt.Errorf("%s and %s differ by case alone", name, other)
		}
		lower[strings.ToLower(name)] = name
	}
	var packed, text bytes.Buffer
	for block := range slices.Chunk(names, blockSize) {
		text.Reset()
		for _, name := range block {
			h := fnv.New32a()
			h.Write([]byte(strings.ToLower(name)))
			places = append(places, place{h.Sum32(), uint16(len(offsets) - 1)})
			text.WriteString(name + "\t")
			if err := json.Compact(&text, models[name]); err != nil {
				return nil, nil, nil, err
			}
			text.WriteByte('\n')
		}
		w, err := flate.NewWriter(&packed, flate.BestCompression)
		if err != nil {
			return nil, nil, nil, err
		}
		if _, err := w.Write(text.Bytes()); err != nil {
			return nil, nil, nil, err
		}
		if err := w.Close(); err != nil {
			return nil, nil, nil, err
		}
		offsets = append(offsets, uint32(packed.Len()))
	}
	slices.SortStableFunc(places, func(a, b place) int { return cmp.Compare(a.hash, b.hash) })
	return packed.Bytes(), places, offsets, nil
}

func read(path string) (map[string]json.RawMessage, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(b, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, err
		}
		if b, err = io.ReadAll(z); err != nil {
			return nil, err
		}
	}
	var models map[string]json.RawMessage
	return models, json.Unmarshal(b, &models)
}
