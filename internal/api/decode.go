package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"

	"seckill"
)

// maxBody is the largest body of a request, in bytes.
const maxBody = 8 << 10

// decode reads a JSON body strictly: one object, known fields, nothing behind
// it. No body at all leaves v as it is when optional is set, and needs no
// content type.
func decode(w http.ResponseWriter, r *http.Request, v any, optional bool) error {
	if r.ContentLength == 0 && optional {
		return nil
	}
	if r.ContentLength > maxBody {
		return errTooLarge
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return errTooLarge
		}
		return fmt.Errorf("%w: the body ends early", errBadJSON)
	}
	if len(body) == 0 && optional {
		return nil
	}
	if r.Header.Get("Content-Encoding") != "" {
		return errMediaType
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return errMediaType
	}
	return decodeBody(body, v)
}

// decodeBody is decode without HTTP.
func decodeBody(body []byte, v any) error {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return fmt.Errorf("%w: want an object", errBadJSON)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		var wrongType *json.UnmarshalTypeError
		var wrongTime *time.ParseError
		switch {
		case errors.As(err, &wrongType):
			return &seckill.FieldError{Field: wrongType.Field, Must: "must be " + article(wrongType.Type.Kind().String())}
		case errors.As(err, &wrongTime):
			return &seckill.FieldError{Field: "time", Must: "must be RFC 3339, such as 2026-11-11T12:00:00Z"}
		}
		return fmt.Errorf("%w: %v", errBadJSON, err)
	}
	if d.More() {
		return fmt.Errorf("%w: something follows the object", errBadJSON)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%w: something follows the object", errBadJSON)
	}
	return nil
}

func article(kind string) string {
	switch kind {
	case "string":
		return "a string"
	case "int", "int64":
		return "a whole number within its limits"
	}
	return "of another type"
}
