package main

import (
	"fmt"
	"reflect"
)

// fieldTag is the tag of one flag.
type fieldTag = reflect.StructTag

// eachField visits the fields of the struct that p points to, embedded structs
// left out, each with its value as text.
func eachField(p any, visit func(tag fieldTag, value string)) {
	v := reflect.ValueOf(p).Elem()
	for i := range v.NumField() {
		if f := v.Type().Field(i); !f.Anonymous {
			visit(f.Tag, fmt.Sprint(v.Field(i).Interface()))
		}
	}
}
