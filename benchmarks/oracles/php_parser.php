<?php
// For each PHP file named on standard input: what it declares and the names that it uses, as nikic/php-parser resolves
// them. Prints one JSON object a line.
require $argv[1];
ini_set('display_errors', 'stderr');

use PhpParser\Node;
use PhpParser\NodeTraverser;
use PhpParser\NodeVisitor\NameResolver;
use PhpParser\NodeVisitorAbstract;
use PhpParser\ParserFactory;

class Names extends NodeVisitorAbstract
{
    public ?array $found = ['classes' => [], 'functions' => [], 'constants' => [], 'used' => [], 'calls' => [], 'fetches' => []];

    public function enterNode(Node $node)
    {
        if ($node instanceof Node\Stmt\ClassLike && $node->name !== null) {
            $this->found['classes'][] = (string) $node->namespacedName;
        } elseif ($node instanceof Node\Stmt\Function_) {
            $this->found['functions'][] = (string) $node->namespacedName;
        } elseif ($node instanceof Node\Stmt\Const_) {
            foreach ($node->consts as $const) {
                $this->found['constants'][] = (string) $const->namespacedName;
            }
        } elseif ($node instanceof Node\Stmt\Use_ || $node instanceof Node\Stmt\GroupUse) {
            foreach ($node->uses as $use) {
                $prefix = $node instanceof Node\Stmt\GroupUse ? $node->prefix . '\\' : '';
                $kind = $use->type ?: $node->type;
                $this->found[[1 => 'used', 2 => 'calls', 3 => 'fetches'][$kind]][] = [$prefix . $use->name, ''];
            }
            return NodeTraverser::DONT_TRAVERSE_CHILDREN;
        } elseif ($node instanceof Node\Expr\FuncCall && $node->name instanceof Node\Name) {
            $this->found['calls'][] = $this->both($node->name);
            if (strtolower((string) $node->name) === 'define' && ($node->args[0]->value ?? null) instanceof Node\Scalar\String_) {
                $this->found['constants'][] = ltrim($node->args[0]->value->value, '\\');
            }
        } elseif ($node instanceof Node\Expr\ConstFetch) {
            $this->found['fetches'][] = $this->both($node->name);
        } elseif ($node instanceof Node\Name\FullyQualified && !$node->getAttribute('seen')) {
            $this->found['used'][] = [(string) $node, ''];
        }
        return null;
    }

    private function both(Node\Name $name): array
    {
        $name->setAttribute('seen', true);
        $namespaced = $name->getAttribute('namespacedName');
        return [(string) ($namespaced ?: $name), $namespaced ? (string) $name : ''];
    }
}

$parser = (new ParserFactory())->create(ParserFactory::PREFER_PHP7);
while (($path = fgets(STDIN)) !== false) {
    $names = new Names();
    $traverser = new NodeTraverser();
    $traverser->addVisitor(new NameResolver());
    $traverser->addVisitor($names);
    try {
        $traverser->traverse($parser->parse(file_get_contents(rtrim($path, "\n"))));
    } catch (\Throwable $error) {
        $names->found = null;
    }
    echo json_encode($names->found, JSON_INVALID_UTF8_SUBSTITUTE), "\n";
}
