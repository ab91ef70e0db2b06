// SPDX-License-Identifier: Apache-2.0

package domainxml

import (
	"strings"

	"github.com/beevik/etree"
)

// Edits keep the look of a document: an element goes with the whitespace before
// it, and comes with the whitespace that its neighbours have.

// remove takes elements out of their parents. To remove many at once takes no
// longer than to remove one.
func remove(elements ...*etree.Element) {
	gone := map[etree.Token]bool{}
	for _, e := range elements {
		if e != nil && e.Parent() != nil {
			gone[e] = true
		}
	}
	for _, e := range elements {
		if gone[e] {
			removeFrom(e.Parent(), gone)
		}
	}
}

// removeFrom removes the children that are in gone, also from gone.
func removeFrom(parent *etree.Element, gone map[etree.Token]bool) {
	var kept []etree.Token
	content := false
	for _, t := range parent.Child {
		if gone[t] {
			delete(gone, t)
			if n := len(kept); n > 0 && isSpace(kept[n-1]) {
				kept = kept[:n-1]
			}
			continue
		}
		kept = append(kept, t)
		content = content || !isSpace(t)
	}
	if !content {
		kept = nil // <a>\n</a> becomes <a/>
	}
	parent.Child = kept
	parent.ReindexChildren()
}

func isSpace(t etree.Token) bool {
	c, ok := t.(*etree.CharData)
	return ok && c.IsWhitespace()
}

// removeAttrs takes attributes off an element, which may be nil.
func removeAttrs(e *etree.Element, keys ...string) {
	if e == nil {
		return
	}
	for _, k := range keys {
		for i := len(e.Attr) - 1; i >= 0; i-- {
			if e.Attr[i].Space == "" && e.Attr[i].Key == k {
				e.Attr = append(e.Attr[:i], e.Attr[i+1:]...)
			}
		}
	}
}

// setAttr sets an attribute in its place, or adds it at the end.
func setAttr(e *etree.Element, key, value string) {
	for i := range e.Attr {
		if e.Attr[i].Space == "" && e.Attr[i].Key == key {
			e.Attr[i].Value = value
			return
		}
	}
	e.CreateAttr(key, value)
}

// setText replaces everything in an element by a text.
func setText(e *etree.Element, s string) {
	e.Child = nil
	e.SetText(s)
}

// insertFirst adds a child before all others.
func insertFirst(parent *etree.Element, tag string) *etree.Element {
	e := etree.NewElement(tag)
	space := etree.NewText(indent(parent) + "  ")
	if indent(parent) == "" {
		parent.InsertChildAt(0, e)
		return e
	}
	if len(parent.Child) == 0 {
		parent.AddChild(etree.NewText(indent(parent)))
	}
	parent.InsertChildAt(0, e)
	parent.InsertChildAt(0, space)
	return e
}

// insertAfter adds an element beside another.
func insertAfter(before *etree.Element, tag string) *etree.Element {
	e := etree.NewElement(tag)
	parent, i := before.Parent(), before.Index()+1
	parent.InsertChildAt(i, e)
	if space := indent(before); space != "" {
		parent.InsertChildAt(i, etree.NewText(space))
	}
	return e
}

// indent is the whitespace before an element, from its line break on; "" if it
// does not start a line.
func indent(e *etree.Element) string {
	if e.Parent() == nil || e.Index() <= 0 {
		return ""
	}
	c, ok := e.Parent().Child[e.Index()-1].(*etree.CharData)
	if !ok {
		return ""
	}
	i := strings.LastIndexByte(c.Data, '\n')
	if i < 0 || strings.TrimSpace(c.Data[i:]) != "" {
		return ""
	}
	return c.Data[i:]
}
