import com.sun.source.tree.*;
import com.sun.source.util.*;
import java.io.*;
import java.nio.file.*;
import java.util.*;
import java.util.stream.*;
import javax.lang.model.element.*;
import javax.tools.*;

/** Prints "source TAB target" for every file whose code names a class or member that another file declares. */
class Javac {
    public static void main(String[] arguments) throws IOException {
        Path top = Path.of(arguments[0]);
        String classpath = arguments[1];
        JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
        DiagnosticCollector<JavaFileObject> diagnostics = new DiagnosticCollector<>();
        StandardJavaFileManager manager = compiler.getStandardFileManager(diagnostics, null, null);
        List<Path> paths = new BufferedReader(new InputStreamReader(System.in)).lines()
            .map(top::resolve).collect(Collectors.toList());
        List<String> options = List.of("-proc:none", "-XDshould-stop.ifError=FLOW", "-Xmaxerrs", "1000000",
            "-implicit:none", "-nowarn", "-classpath", classpath, "-sourcepath", "");
        JavacTask task = (JavacTask) compiler.getTask(
            Writer.nullWriter(), manager, diagnostics, options, null, manager.getJavaFileObjectsFromPaths(paths));
        List<CompilationUnitTree> units = new ArrayList<>();
        task.parse().forEach(units::add);
        task.analyze();
        Trees trees = Trees.instance(task);
        for (CompilationUnitTree unit : units) {
            String source = name(top, unit);
            Set<String> targets = new TreeSet<>();
            new TreePathScanner<Void, Void>() {
                @Override public Void visitImport(ImportTree tree, Void none) { return null; }
                @Override public Void visitPackage(PackageTree tree, Void none) {
                    return scan(tree.getAnnotations(), none);
                }
                @Override public Void visitIdentifier(IdentifierTree tree, Void none) {
                    add();
                    return super.visitIdentifier(tree, none);
                }
                @Override public Void visitMemberSelect(MemberSelectTree tree, Void none) {
                    add();
                    return super.visitMemberSelect(tree, none);
                }
                @Override public Void visitMemberReference(MemberReferenceTree tree, Void none) {
                    add();
                    return super.visitMemberReference(tree, none);
                }
                private void add() {
                    // What javac makes up (the call of a super constructor, a lambda's types) has no place of its own.
                    TreePath path = getCurrentPath();
                    if (trees.getSourcePositions().getEndPosition(unit, path.getLeaf()) < 0) return;
                    Element element = trees.getElement(path);
                    if (element == null || element.getKind() == ElementKind.PACKAGE) return;
                    TreePath declared = trees.getPath(element);
                    for (Element at = element; declared == null && at != null; at = at.getEnclosingElement()) {
                        declared = trees.getPath(at);
                    }
                    if (declared != null) targets.add(name(top, declared.getCompilationUnit()));
                }
            }.scan(unit, null);
            targets.remove(source);
            System.out.println(source + "\t");
            for (String target : targets) System.out.println(source + "\t" + target);
        }
        System.err.println(diagnostics.getDiagnostics().stream()
            .filter(each -> each.getKind() == Diagnostic.Kind.ERROR).count());
    }

    private static String name(Path top, CompilationUnitTree unit) {
        return top.relativize(Path.of(unit.getSourceFile().toUri())).toString();
    }
}
