"""Sphinx's settings: pydata's theme, numpydoc for docstrings, MyST for the pages."""

import re
from pathlib import Path

import cbackprop

project = "cbackprop"
author = "the cbackprop developers"
project_copyright = f"2026, {author}"
release = version = cbackprop.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_templates"]
templates_path = ["_templates"]
html_theme = "pydata_sphinx_theme"
html_title = "cbackprop"
html_static_path = ["_static"]
html_css_files = ["wide_tables.css"]
html_theme_options = {
    "show_prev_next": False,
    "header_links_before_dropdown": 8,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_show_sourcelink = False
# No column for a menu where there is none.
html_sidebars = {
    page: []
    for page in (
        "index lesson chain_rule training gradients larger_than_memory how_it_scales deployment "
        "coming_from_pytorch coming_from_jax coming_from_scikit_learn coming_from_keras "
        "into_a_controller into_a_service on_a_cluster command_line guarantees accuracy speed "
        "published_runs platforms architecture releasing"
    ).split()
}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more: shapes, units, errors
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
nitpicky = False


def links_out_of_the_documentation(app, docname, source):
    """The pages are read in the repository, too: what lies outside docs/ is shown as a name."""
    page = Path(app.srcdir) / docname

    def plain(match):
        target = match.group(1)
        if page.parent.joinpath(target).resolve().is_relative_to(app.srcdir):
            return match.group(0)
        return f"`{target.replace('../', '')}`"

    source[0] = re.sub(r"\[[^\]]*\]\((\.\./[^)#]*)\)", plain, source[0])


def leave_out_what_others_document(app, what, name, member, skip, options):
    """What the estimators have from scikit-learn is in its own documentation."""
    return skip or str(getattr(member, "__module__", "")).startswith("sklearn.") or None


def setup(app):
    app.connect("autodoc-skip-member", leave_out_what_others_document)
    app.connect("source-read", links_out_of_the_documentation)
