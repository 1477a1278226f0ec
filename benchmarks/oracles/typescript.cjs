// Usage: node typescript.cjs TYPESCRIPT_MODULE TOP imports|symbols [TSCONFIG] ; prints {version, files, edges}.
"use strict";
const fs = require("fs");
const path = require("path");
const [, , library, top, kind, config] = process.argv;
const ts = require(library);

let options = {};
if (config) {
  const read = ts.readConfigFile(config, ts.sys.readFile).config;
  options = ts.parseJsonConfigFileContent(read, ts.sys, path.dirname(config)).options;
}
options = { moduleResolution: ts.ModuleResolutionKind.Bundler, module: ts.ModuleKind.ESNext, ...options };
options = { ...options, allowJs: true, checkJs: false, noEmit: true, types: [], resolveJsonModule: true, skipLibCheck: true };

const SUFFIX = /\.[cm]?[jt]sx?$/;
const roots = [];
const waiting = [top];
while (waiting.length) {
  const folder = waiting.pop();
  for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
    const full = path.join(folder, entry.name);
    if (entry.isDirectory() && entry.name !== "node_modules" && entry.name !== ".git") waiting.push(full);
    else if (entry.isFile() && SUFFIX.test(entry.name)) roots.push(full);
  }
}
roots.sort();
const host = ts.createCompilerHost(options);
const program = ts.createProgram(roots, options, host);
const inside = new Set(roots);
const relative = (file) => path.relative(top, file).split(path.sep).join("/");
const edges = new Set();
const add = (source, target) => {
  if (target && target !== source && inside.has(target)) edges.add(JSON.stringify([relative(source), relative(target)]));
};
const checker = kind === "symbols" ? program.getTypeChecker() : null;
for (const source of program.getSourceFiles()) {
  if (!inside.has(source.fileName)) continue;
  if (checker === null) {
    for (const literal of source.imports || []) {
      const found = ts.resolveModuleName(literal.text, source.fileName, options, host).resolvedModule;
      if (found) add(source.fileName, found.resolvedFileName);
    }
    for (const reference of source.referencedFiles)
      add(source.fileName, path.resolve(path.dirname(source.fileName), reference.fileName));
    continue;
  }
  const nodes = [source];
  while (nodes.length) {
    const node = nodes.pop();
    ts.forEachChild(node, (child) => void nodes.push(child));
    nodes.push(...(node.jsDoc || []));
    if (!ts.isIdentifier(node)) continue;
    let symbol = checker.getSymbolAtLocation(node);
    if (symbol && symbol.flags & ts.SymbolFlags.Alias) symbol = checker.getAliasedSymbol(symbol);
    for (const declaration of (symbol && symbol.declarations) || []) add(source.fileName, declaration.getSourceFile().fileName);
  }
}
const found = { version: ts.version, files: roots.map(relative), edges: [...edges].map((edge) => JSON.parse(edge)) };
fs.writeSync(1, JSON.stringify(found));
