// SPDX-License-Identifier: Apache-2.0

package libvirt

// #include "shim.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Typed parameters are libvirt's lists of named values, through which newer
// versions say more without a change of the ABI.

// params are the values of such a list by name: int64, uint64, float64, bool
// or string.
type params map[string]any

// takeParams reads the list that a call gave away, and frees it.
func takeParams(array C.virTypedParameterPtr, n C.int) params {
	defer C.libvirtGoFreeParams(array, n)
	return readParams(array, n)
}

func readParams(array C.virTypedParameterPtr, n C.int) params {
	out := params{}
	for _, p := range unsafe.Slice((*C.virTypedParameter)(array), n) {
		out[C.GoString(&p.field[0])] = valueOf(&p)
	}
	return out
}

// valueOf is the value of a parameter, nil if it has a type that was not yet.
func valueOf(p *C.virTypedParameter) any {
	v := unsafe.Pointer(&p.value)
	switch p._type {
	case C.VIR_TYPED_PARAM_INT:
		return int64(*(*C.int)(v))
	case C.VIR_TYPED_PARAM_UINT:
		return uint64(*(*C.uint)(v))
	case C.VIR_TYPED_PARAM_LLONG:
		return int64(*(*C.longlong)(v))
	case C.VIR_TYPED_PARAM_ULLONG:
		return uint64(*(*C.ulonglong)(v))
	case C.VIR_TYPED_PARAM_DOUBLE:
		return float64(*(*C.double)(v))
	case C.VIR_TYPED_PARAM_BOOLEAN:
		return *(*C.char)(v) != 0
	case C.VIR_TYPED_PARAM_STRING:
		return C.GoString(*(**C.char)(v))
	}
	return nil
}

// get puts the value name into value, and whether there is one into set,
// unless that is nil. An integer goes into any integer.
func (ps params) get(name string, value any, set *bool) {
	found := assign(value, ps[name])
	if set != nil {
		*set = found
	}
}

// assign says whether v is there and fits.
func assign(to, v any) bool {
	switch to := to.(type) {
	case *uint64:
		return assignInteger(to, v)
	case *uint:
		return assignInteger(to, v)
	case *int:
		return assignInteger(to, v)
	case *float64:
		return assignSame(to, v)
	case *bool:
		return assignSame(to, v)
	case *string:
		return assignSame(to, v)
	}
	panic(fmt.Sprintf("libvirt: no parameter goes into a %T", to))
}

func assignInteger[T uint64 | uint | int](to *T, v any) bool {
	switch v := v.(type) {
	case int64:
		*to = T(v)
	case uint64:
		*to = T(v)
	default:
		return false
	}
	return true
}

func assignSame[T any](to *T, v any) bool {
	same, ok := v.(T)
	if ok {
		*to = same
	}
	return ok
}

// count is the value NAME.count of an array.
func (ps params) count(name string) int {
	var n int
	ps.get(name+".count", &n, nil)
	return max(0, min(n, len(ps))) // each element has a value at least
}

// uintParam and ulongParam make a parameter for a call.
func uintParam(name string, value uint) C.virTypedParameter {
	p := newParam(name, C.VIR_TYPED_PARAM_UINT)
	*(*C.uint)(unsafe.Pointer(&p.value)) = C.uint(value)
	return p
}

func ulongParam(name string, value uint64) C.virTypedParameter {
	p := newParam(name, C.VIR_TYPED_PARAM_ULLONG)
	*(*C.ulonglong)(unsafe.Pointer(&p.value)) = C.ulonglong(value)
	return p
}

func newParam(name string, typ C.int) C.virTypedParameter {
	p := C.virTypedParameter{_type: typ}
	for i := range len(name) {
		p.field[i] = C.char(name[i])
	}
	return p
}
