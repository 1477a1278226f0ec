"""Ruby: requires by the conventions of load paths, constants as Ruby looks them up."""

import pytest

from repo_ordering.graph import GraphBuilder, SourceFile, repository_graph
from tests.repo_ordering.expectations import compare


def edges(tree, kind=None):
    files = [SourceFile(path, "Ruby", text) for path, text in tree.items()]
    found = repository_graph(files).edges
    return {(e.source, e.target) for e in found if e.kind in ("import", "symbol") and kind in (None, e.kind)}


@pytest.mark.parametrize("name, least", [("ruby-thor", 70), ("ruby-sinatra", 6), ("ruby-redmine", 50)])
def test_against_edges_read_by_hand(shared_data, name, least):
    count, missing, wrong = compare(name, shared_data)
    assert count >= least
    assert len(missing) <= 0.03 * count and len(wrong) <= 0.03 * count, (missing, wrong)


@pytest.mark.parametrize(
    "code, targets",
    [
        ("require 'pkg/core'", ["lib/pkg/core.rb"]),
        ('require("pkg/core") if RUBY_VERSION > "3"', ["lib/pkg/core.rb"]),
        ("require_relative '../lib/pkg/core'", ["lib/pkg/core.rb"]),
        ("require_relative 'helper.rb'", ["test/helper.rb"]),
        ("require 'helper'", ["test/helper.rb"]),
        ("require File.expand_path('../helper', __FILE__)", ["test/helper.rb"]),
        ("require File.expand_path('helper', __dir__)", ["test/helper.rb"]),
        ("require File.join(File.dirname(__FILE__), '..', 'lib', 'pkg', 'core')", ["lib/pkg/core.rb"]),
        ("require File.dirname(__FILE__) + '/helper'", ["test/helper.rb"]),
        ('require "#{__dir__}/helper"', ["test/helper.rb"]),
        ("load 'test/helper.rb'", ["test/helper.rb"]),
        ("autoload :Core, 'pkg/core'", ["lib/pkg/core.rb"]),
        ("autoload(:Core, File.expand_path('../lib/pkg/core', __dir__))", ["lib/pkg/core.rb"]),
        ("begin; require 'pkg/core'; rescue LoadError; end", ["lib/pkg/core.rb"]),
        ("require 'csv'; require 'json'", []),
        ("# require 'pkg/core'\nx = \"require 'pkg/core'\"", []),
        ("=begin\nrequire 'pkg/core'\n=end\nx = 1\n__END__\nrequire 'pkg/core'", []),
        ('require "pkg/#{name}"; require name; obj.load "helper"', []),
    ],
)
def test_requires(code, targets):
    tree = {
        "test/a.rb": code,
        "test/helper.rb": "",
        "lib/pkg/core.rb": "",
        "lib/pkg/csv.rb": "",
        "app/json.md": "",
    }
    assert edges(tree, "import") == {("test/a.rb", target) for target in targets}


DECLARED = {
    "lib/shop.rb": "module Shop\n  VERSION = '1'\n  def self.go; end\nend",
    "lib/shop/base.rb": "module Shop\n  class Base\n    LIMIT = 3\n    class Inner; end\n  end\nend",
    "lib/shop/html_page.rb": "class Shop::HTMLPage < Shop::Base\nend",
    "lib/shop/errors.rb": "module Shop\n  class Error < StandardError; end\n  Alias = Error\nend",
    "lib/shop/mixin.rb": "module Shop::Mixin\n  Point = Struct.new(:x)\nend",
    "lib/core_ext/string.rb": "class String\n  def shout; end\nend",
    "config/initializers/patch.rb": "module ActiveRecord\n  class Base\n    def x; end\n  end\nend",
    "app/models/line_item.rb": "class LineItem < ActiveRecord::Base\nend",
    "spec/doubles.rb": "class Double\n  def x; end\nend",
}


@pytest.mark.parametrize(
    "code, targets",
    [
        ("Shop::Base.new", ["lib/shop/base.rb"]),
        ("Shop.go", ["lib/shop.rb"]),
        ("Shop::VERSION", ["lib/shop.rb"]),
        ("module Shop\n  class A < Base\n  end\nend", ["lib/shop/base.rb"]),
        ("module Shop\n  Base::Inner\nend", ["lib/shop/base.rb"]),
        ("class Shop::A\n  Base\nend", []),  # `class Shop::A` does not look in Shop
        (
            "class A < Shop::HTMLPage\n  def f; LIMIT; Inner; end\nend",
            ["lib/shop/base.rb", "lib/shop/html_page.rb"],
        ),
        ("class A\n  include Shop::Mixin\n  Point\nend", ["lib/shop/mixin.rb"]),
        ("begin; rescue Shop::Error, Shop::Alias; end", ["lib/shop/errors.rb"]),
        ("module Shop; ::Shop::Base; ::Base; end", ["lib/shop/base.rb"]),
        ("String.new; ActiveRecord::Base; Double; Unknown::Thing", []),
        ("class Cart < ActiveRecord::Base\n  has_many :line_items\nend", ["app/models/line_item.rb"]),
        ("class Cart\n  belongs_to :x, class_name: 'LineItem'\nend", ["app/models/line_item.rb"]),
        ("module Shop; autoload :Base; end", ["lib/shop/base.rb"]),
        ("x = 'Shop::Base' # Shop::Base", []),
        ('"#{Shop::Base}"', ["lib/shop/base.rb"]),
        ("Shop::Base = 1", []),
        ("def self.x; Shop::Missing; end", ["lib/shop.rb"]),
    ],
)
def test_constants(code, targets):
    found = {
        target
        for source, target in edges(DECLARED | {"lib/user.rb": code}, "symbol")
        if source == "lib/user.rb"
    }
    assert found == set(targets)


def test_of_two_copies_the_one_beside():
    copy = {"shop.rb": "module Shop; def self.go; end; end", "use.rb": "Shop.go"}
    tree = {f"{folder}/lib/{name}": text for folder in ("a", "b/c") for name, text in copy.items()}
    assert edges(tree) == {("a/lib/use.rb", "a/lib/shop.rb"), ("b/c/lib/use.rb", "b/c/lib/shop.rb")}


def test_a_file_known_by_its_path_only():
    builder = GraphBuilder()
    builder.add(SourceFile("lib/a.rb", "Ruby", "require 'pkg/gone'\nmodule Pkg\n  HtmlGone.new\nend"))
    builder.add_absent("lib/pkg/gone.rb", "Ruby")
    builder.add_absent("lib/pkg/html_gone.rb", "Ruby")
    assert {(e.target, e.kind) for e in builder.graph().edges} == {
        ("lib/pkg/gone.rb", "import"),
        ("lib/pkg/html_gone.rb", "symbol"),
    }


def test_classes_that_inherit_in_a_ring():
    tree = {
        f"lib/c{i}.rb": f"class C{i} < C{(i + 1) % 50}\n  X\n  include C{(i + 2) % 50}\nend"
        for i in range(50)
    }
    assert ("lib/c0.rb", "lib/c1.rb") in edges(tree)
