package main

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

// openAPI is a document that answers are held against, as far as it goes.
type openAPI struct{ root map[string]any }

func readOpenAPI(t *testing.T, text []byte) *openAPI {
	t.Helper()
	d := &openAPI{}
	must(t, json.Unmarshal(text, &d.root))
	return d
}

// at follows a path of keys, and references on the way.
func (d *openAPI) at(from any, keys ...string) any {
	for {
		m, _ := from.(map[string]any)
		if ref, ok := m["$ref"].(string); ok {
			from = d.at(d.root, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
			continue
		}
		if len(keys) == 0 {
			return from
		}
		if from = m[keys[0]]; from == nil {
			return nil
		}
		keys = keys[1:]
	}
}

// judge says what is wrong with an answer.
func (d *openAPI) judge(method, path string, status int, mediaType string, body []byte) error {
	mediaType, _, _ = strings.Cut(mediaType, ";")
	if status == 401 || status == 403 || status == 404 || status == 405 || status == 415 { // of every endpoint
		return d.valid(d.at(d.root, "components", "schemas", "Problem"), decoded(body), "body")
	}
	response := d.at(d.root, "paths", path, strings.ToLower(method), "responses", fmt.Sprint(status))
	if response == nil {
		return fmt.Errorf("%s %s: the document knows no status %d", method, path, status)
	}
	schema := d.at(response, "content", mediaType, "schema")
	if schema == nil {
		return fmt.Errorf("%s %s: the document knows no %s of status %d", method, path, mediaType, status)
	}
	if mediaType == "text/plain" {
		return nil
	}
	return d.valid(schema, decoded(body), "body")
}

func decoded(body []byte) any {
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return err
	}
	return v
}

// valid holds a value against a schema: type, enum, required, properties,
// additionalProperties, items.
func (d *openAPI) valid(schema, v any, where string) error {
	s, ok := d.at(schema).(map[string]any)
	if !ok {
		return fmt.Errorf("%s: no schema", where)
	}
	if want, ok := s["type"].(string); ok && want != kindOf(v) && !(want == "number" && kindOf(v) == "integer") {
		return fmt.Errorf("%s is %s, not %s", where, kindOf(v), want)
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return fmt.Errorf("%s is %v, none of %v", where, v, enum)
	}
	if items, ok := v.([]any); ok && s["items"] != nil {
		for i, item := range items {
			if err := d.valid(s["items"], item, fmt.Sprintf("%s[%d]", where, i)); err != nil {
				return err
			}
		}
	}
	object, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	required, _ := s["required"].([]any)
	for _, key := range required {
		if _, there := object[key.(string)]; !there {
			return fmt.Errorf("%s: %s is missing", where, key)
		}
	}
	properties, _ := s["properties"].(map[string]any)
	for key, value := range object {
		of, known := properties[key]
		if more, ok := s["additionalProperties"].(map[string]any); !known && ok {
			of, known = more, true
		}
		if !known {
			if s["additionalProperties"] == false {
				return fmt.Errorf("%s: %s is not described", where, key)
			}
			continue
		}
		if err := d.valid(of, value, where+"."+key); err != nil {
			return err
		}
	}
	return nil
}

func kindOf(v any) string {
	switch v := v.(type) {
	case string:
		return "string"
	case bool:
		return "boolean"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	case float64:
		if v == math.Trunc(v) {
			return "integer"
		}
		return "number"
	case error:
		return "no JSON: " + v.Error()
	}
	return "null"
}

// The judge itself must be able to say no.
func TestTheJudgeOfAnswersSaysNo(t *testing.T) {
	d := readOpenAPI(t, []byte(`{"components":{"schemas":{"A":{"type":"object","required":["a"],"additionalProperties":false,
		"properties":{"a":{"type":"string","enum":["x"]},"b":{"type":"array","items":{"type":"integer"}},"c":{"type":"object","additionalProperties":{"type":"string"}}}}}}}`))
	schema := d.at(d.root, "components", "schemas", "A")
	for text, good := range map[string]bool{
		`{"a":"x","b":[1,2],"c":{"k":"v"}}`: true, `{}`: false, `{"a":"y"}`: false, `{"a":1}`: false, `{"a":"x","z":1}`: false,
		`{"a":"x","b":[1.5]}`: false, `{"a":"x","b":null}`: false, `{"a":"x","c":{"k":1}}`: false, `[]`: false, `{`: false,
	} {
		if err := d.valid(schema, decoded([]byte(text)), "body"); (err == nil) != good {
			t.Errorf("%s: %v", text, err)
		}
	}
}
