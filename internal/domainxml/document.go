// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/beevik/etree"
)

const (
	maxSize   = 4 << 20 // bytes: the longest string that libvirt's protocol carries
	maxDepth  = 512     // elements: twice the longest backing chain of libvirt, each a level
	maxTokens = 200_000 // a domain with maxDisks disks has 30,000
	maxDisks  = 1024    // more than QEMU starts with
)

// ErrXML means that a document is not XML that libvirt could have written:
// malformed, oversized, or of another kind.
var ErrXML = errors.New("not usable XML")

func xmlError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrXML, fmt.Sprintf(format, args...))
}

// parseDocument reads a document whose root element has the name given.
func parseDocument(data []byte, root string) (*etree.Document, error) {
	if err := checkDocument(data); err != nil {
		return nil, err
	}
	doc := etree.NewDocument()
	doc.ReadSettings = etree.ReadSettings{CharsetReader: readUTF8, PreserveCData: true, PreserveDuplicateAttrs: true, MaxDepth: maxDepth}
	if err := doc.ReadFromBytes(data); err != nil {
		return nil, xmlError("%v", err)
	}
	e := doc.Root()
	if e == nil || e.FullTag() != root {
		return nil, xmlError("no <%s> element at its root", root)
	}
	return doc, nil
}

// checkDocument walks the tokens once without keeping them, so that what is
// refused costs no memory.
func checkDocument(data []byte) error {
	if len(data) > maxSize {
		return xmlError("%d bytes, the limit is %d", len(data), maxSize)
	}
	dec := xml.NewDecoder(bytes.NewReader(data))
	dec.CharsetReader = readUTF8
	depth, roots := 0, 0
	for n := 0; ; n++ {
		token, err := dec.Token()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return xmlError("%v", err)
		}
		if n == maxTokens {
			return xmlError("line %d: more than %d elements and texts", line(dec), maxTokens)
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth == 0 {
				roots++
			}
			depth++
			err = checkElement(t, depth, roots)
		case xml.EndElement:
			depth--
		case xml.Directive:
			err = errors.New("a document type, which libvirt never writes")
		}
		if err != nil {
			return xmlError("line %d: %v", line(dec), err)
		}
	}
}

func line(dec *xml.Decoder) int {
	n, _ := dec.InputPos()
	return n
}

// checkElement refuses what the parser of libvirt would see differently.
func checkElement(t xml.StartElement, depth, roots int) error {
	if roots > 1 {
		return errors.New("a second root element")
	}
	if depth > maxDepth {
		return fmt.Errorf("more than %d elements inside each other", maxDepth)
	}
	seen := make(map[xml.Name]bool, len(t.Attr))
	for _, a := range t.Attr {
		if seen[a.Name] {
			return fmt.Errorf("attribute %q given twice", a.Name.Local)
		}
		seen[a.Name] = true
	}
	return nil
}

// readUTF8 is for documents that declare UTF-8 by another of its names, as the
// peer's do ("utf8").
func readUTF8(charset string, in io.Reader) (io.Reader, error) {
	switch strings.ToLower(charset) {
	case "utf-8", "utf8", "us-ascii", "ascii":
		return in, nil
	}
	return nil, fmt.Errorf("encoding %q, must be UTF-8", charset)
}

// writeDocument is the text of a document. Quotes are double, whitespace in
// attributes is escaped (another parser would read it as spaces), and there is
// no XML declaration.
func writeDocument(doc *etree.Document) ([]byte, error) {
	out := doc.Copy()
	if p, ok := first(out).(*etree.ProcInst); ok && p.Target == "xml" {
		out.RemoveChildAt(0)
	}
	if c, ok := first(out).(*etree.CharData); ok && c.IsWhitespace() {
		out.RemoveChildAt(0)
	}
	out.WriteSettings = etree.WriteSettings{CanonicalText: true, CanonicalAttrVal: true}
	return out.WriteToBytes()
}

func first(doc *etree.Document) etree.Token {
	if len(doc.Child) == 0 {
		return nil
	}
	return doc.Child[0]
}

// newDocument starts a document of one's own.
func newDocument(root string) (*etree.Document, *etree.Element) {
	doc := etree.NewDocument()
	return doc, doc.CreateElement(root)
}

// newXML is the text of a document of one's own, indented.
func newXML(doc *etree.Document) (string, error) {
	doc.Indent(2)
	b, err := writeDocument(doc)
	return string(b), err
}

// children yields the child elements that have this name and no namespace
// prefix, as libvirt looks for them.
func children(e *etree.Element, tag string) []*etree.Element {
	var found []*etree.Element
	if e == nil {
		return nil
	}
	for _, c := range e.ChildElements() {
		if c.Space == "" && c.Tag == tag {
			found = append(found, c)
		}
	}
	return found
}

// child follows a path of first children; nil if one is missing.
func child(e *etree.Element, path ...string) *etree.Element {
	for _, tag := range path {
		all := children(e, tag)
		if len(all) == 0 {
			return nil
		}
		e = all[0]
	}
	return e
}

// attr is the value of an attribute without prefix; "" if it is missing, or if
// the element is nil.
func attr(e *etree.Element, key string) string {
	if e == nil {
		return ""
	}
	for _, a := range e.Attr {
		if a.Space == "" && a.Key == key {
			return a.Value
		}
	}
	return ""
}

// text is all text of an element, without that of its children and without
// comments; "" if the element is nil.
func text(e *etree.Element) string {
	if e == nil {
		return ""
	}
	var b strings.Builder
	for _, t := range e.Child {
		if c, ok := t.(*etree.CharData); ok {
			b.WriteString(c.Data)
		}
	}
	return b.String()
}
