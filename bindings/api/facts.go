// SPDX-License-Identifier: Apache-2.0

// Package api holds the bindings to the exported API of the upstream packages
// whose import paths they have. The lists beside it (nbdkit.txt) have every
// exported fact of upstream, one a line and sorted; [Facts] prints those of a
// package in the same form. The test compares the two, for all bindings: it
// is here and not in their modules so that these have no requirements.
package api

import (
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// Facts type-checks the package in the folder dir from source, cgo included,
// and returns its exported facts, sorted:
//
//	const NAME TYPE
//	var NAME TYPE
//	func NAME(PARAMETERS) RESULTS
//	type NAME UNDERLYING ("struct" and "interface" stand for themselves)
//	field TYPE.NAME TYPE
//	method (*TYPE).NAME(PARAMETERS) RESULTS
//	imethod INTERFACE.NAME(PARAMETERS) RESULTS
//
// Methods of values and of pointers look the same, and so do promoted ones.
func Facts(dir string) ([]string, error) {
	source := importer.ForCompiler(token.NewFileSet(), "source", nil).(types.ImporterFrom)
	pkg, err := source.ImportFrom(".", dir, 0)
	if err != nil {
		return nil, fmt.Errorf("facts of the package in %s: %w", dir, err)
	}
	var facts []string
	for _, name := range pkg.Scope().Names() {
		if obj := pkg.Scope().Lookup(name); obj.Exported() {
			facts = append(facts, factsOf(obj)...)
		}
	}
	slices.Sort(facts)
	return facts, nil
}

// factsOf are the facts of an object of the package's scope.
func factsOf(obj types.Object) []string {
	name, typ := obj.Name(), typeString(obj, obj.Type())
	switch obj := obj.(type) {
	case *types.Const:
		return []string{"const " + name + " " + typ}
	case *types.Var:
		return []string{"var " + name + " " + typ}
	case *types.Func:
		return []string{"func " + name + strings.TrimPrefix(typ, "func")}
	case *types.TypeName:
		if obj.IsAlias() {
			return []string{"type " + name + " = " + typeString(obj, types.Unalias(obj.Type()))}
		}
		return factsOfType(obj)
	}
	return nil
}

// factsOfType are those of a defined type, with its fields and methods.
func factsOfType(obj *types.TypeName) []string {
	name := obj.Name()
	var facts []string
	switch under := obj.Type().Underlying().(type) {
	case *types.Interface:
		facts = append(facts, "type "+name+" interface")
		for method := range under.Methods() {
			if method.Exported() {
				facts = append(facts, "imethod "+name+"."+signature(method))
			}
		}
		return facts
	case *types.Struct:
		facts = append(facts, "type "+name+" struct")
		for field := range under.Fields() {
			if field.Exported() {
				facts = append(facts, "field "+name+"."+field.Name()+" "+typeString(field, field.Type()))
			}
		}
	default:
		facts = append(facts, "type "+name+" "+typeString(obj, under))
	}
	for selection := range types.NewMethodSet(types.NewPointer(obj.Type())).Methods() {
		if method := selection.Obj(); method.Exported() {
			facts = append(facts, "method (*"+name+")."+signature(method))
		}
	}
	return facts
}

// signature is NAME(PARAMETERS) RESULTS of a function.
func signature(f types.Object) string {
	return f.Name() + strings.TrimPrefix(typeString(f, f.Type()), "func")
}

// typeString is t as the package of obj writes it.
func typeString(obj types.Object, t types.Type) string {
	return types.TypeString(t, func(p *types.Package) string {
		if p == obj.Pkg() {
			return ""
		}
		return p.Name()
	})
}
