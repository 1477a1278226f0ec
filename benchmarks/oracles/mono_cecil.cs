// Types and members of an assembly, the source files that its symbols (.mdb) name for methods, and what they refer to.
// Prints tab-separated lines: type NAME | method TYPE MEMBER FILE | extension TYPE MEMBER | use TYPE MEMBER OTHER_TYPE OTHER_MEMBER
using System;
using System.IO;
using Mono.Cecil;
using Mono.CompilerServices.SymbolWriter;

static class Program
{
    static readonly TextWriter Out = Console.Out;
    static string at = "";

    static string Name(TypeReference type) => type.FullName.Replace('/', '.');

    static void Use(TypeReference type, string member = "")
    {
        if (type == null || type is GenericParameter) return;
        var generic = type as GenericInstanceType;
        if (generic != null)
            foreach (var argument in generic.GenericArguments) Use(argument);
        var specified = type as TypeSpecification;
        if (specified != null)
        {
            Use(specified.ElementType, member);
            return;
        }
        if (type.Scope is ModuleDefinition) Out.WriteLine("use\t" + at + "\t" + Name(type) + "\t" + member);
    }

    static void Attributes(ICustomAttributeProvider provider)
    {
        foreach (var attribute in provider.CustomAttributes)
        {
            Use(attribute.AttributeType);
            if (!attribute.HasConstructorArguments && !attribute.HasProperties) continue;
            foreach (var argument in attribute.ConstructorArguments) Argument(argument);
            foreach (var property in attribute.Properties) Argument(property.Argument);
        }
    }

    static void Argument(CustomAttributeArgument argument)
    {
        Use(argument.Type);
        Use(argument.Value as TypeReference);
    }


    static void Main(string[] arguments)
    {
        var module = ModuleDefinition.ReadModule(arguments[0], new ReaderParameters());
        var symbols = MonoSymbolFile.ReadSymbolFile(arguments[0] + ".mdb");
        foreach (var type in module.GetTypes())
        {
            var name = Name(type);
            Out.WriteLine("type\t" + name);
            at = name + "\t";
            if (type.BaseType != null) Use(type.BaseType);
            foreach (var face in type.Interfaces) Use(face.InterfaceType);
            foreach (var parameter in type.GenericParameters)
                foreach (var constraint in parameter.Constraints) Use(constraint.ConstraintType);
            Attributes(type);
            foreach (var field in type.Fields) { Use(field.FieldType); Attributes(field); }
            foreach (var property in type.Properties) { Use(property.PropertyType); Attributes(property); }
            foreach (var raised in type.Events) { Use(raised.EventType); Attributes(raised); }
            foreach (var method in type.Methods)
            {
                at = name + "\t" + method.Name;
                var entry = symbols.GetMethodByToken(method.MetadataToken.ToInt32());
                if (entry != null) Out.WriteLine("method\t" + at + "\t" + entry.CompileUnit.SourceFile.FileName);
                foreach (var attribute in method.CustomAttributes)
                    if (attribute.AttributeType.Name == "ExtensionAttribute") Out.WriteLine("extension\t" + at);
                Use(method.ReturnType);
                Attributes(method);
                foreach (var parameter in method.Parameters) { Use(parameter.ParameterType); Attributes(parameter); }
                foreach (var parameter in method.GenericParameters)
                    foreach (var constraint in parameter.Constraints) Use(constraint.ConstraintType);
                if (!method.HasBody) continue;
                foreach (var local in method.Body.Variables) Use(local.VariableType);
                foreach (var handler in method.Body.ExceptionHandlers) Use(handler.CatchType);
                foreach (var instruction in method.Body.Instructions)
                {
                    var called = instruction.Operand as MethodReference;
                    if (called != null) Use(called.DeclaringType, called.Name);
                    var generic = instruction.Operand as GenericInstanceMethod;
                    if (generic != null)
                        foreach (var argument in generic.GenericArguments) Use(argument);
                    var field = instruction.Operand as FieldReference;
                    if (field != null) Use(field.DeclaringType, field.Name);
                    Use(instruction.Operand as TypeReference);
                }
            }
        }
    }
}
