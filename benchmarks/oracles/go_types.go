// Prints [file, file] for each identifier of a Go repository that is declared in another of its files, as go/types
// resolves it. Reads the package graph on standard input, as `go list -e -deps -json ./...` prints it.
package main

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"log"
	"os"
	"path/filepath"
	"strings"
)

type listed struct {
	Dir, ImportPath   string
	GoFiles, CgoFiles []string
	ImportMap         map[string]string
	Imports           []string
}

type importer struct {
	checked map[string]*types.Package
	renamed map[string]string
}

func (from importer) Import(path string) (*types.Package, error) {
	if path == "unsafe" {
		return types.Unsafe, nil
	}
	if other, ok := from.renamed[path]; ok {
		path = other
	}
	if found := from.checked[path]; found != nil {
		return found, nil
	}
	// Of a package that is not installed nothing is known; what does not come from it still resolves.
	empty := types.NewPackage(path, filepath.Base(path))
	empty.MarkComplete()
	from.checked[path] = empty
	return empty, nil
}

func main() {
	root := os.Args[1]
	files := map[string]bool{}
	edges := map[[2]string]bool{}
	checked := map[string]*types.Package{}
	set := token.NewFileSet()
	inside := func(path string) string {
		name, err := filepath.Rel(root, path)
		if err != nil || strings.HasPrefix(name, "..") {
			return ""
		}
		return filepath.ToSlash(name)
	}
	errors := 0
	input := json.NewDecoder(os.Stdin)
	for {
		var listed listed
		if err := input.Decode(&listed); err == io.EOF {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		ours := inside(listed.Dir) != ""
		var parsed []*ast.File
		for _, name := range append(listed.GoFiles, listed.CgoFiles...) {
			path := filepath.Join(listed.Dir, name)
			file, _ := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
			if file != nil {
				parsed = append(parsed, file)
			}
			if ours {
				files[inside(path)] = true
			}
		}
		info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
		config := types.Config{
			Importer:         importer{checked, listed.ImportMap},
			IgnoreFuncBodies: !ours,
			FakeImportC:      true,
			Error: func(error) {
				if ours {
					errors++
				}
			},
		}
		if !ours {
			info = nil
		}
		checked[listed.ImportPath], _ = config.Check(listed.ImportPath, set, parsed, info)
		if !ours {
			continue
		}
		for identifier, object := range info.Uses {
			if _, isName := object.(*types.PkgName); isName || !object.Pos().IsValid() {
				continue
			}
			from := inside(set.PositionFor(identifier.Pos(), false).Filename)
			to := inside(set.PositionFor(object.Pos(), false).Filename)
			if to != "" && from != to {
				edges[[2]string{from, to}] = true
			}
		}
	}
	found := struct {
		Files  []string
		Edges  [][2]string
		Errors int
	}{Errors: errors}
	for name := range files {
		found.Files = append(found.Files, name)
	}
	for edge := range edges {
		if files[edge[1]] {
			found.Edges = append(found.Edges, edge)
		}
	}
	json.NewEncoder(os.Stdout).Encode(found)
}
