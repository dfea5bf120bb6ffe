"""Sphinx: `tox run -e docs` builds these pages, with every warning an error."""

import sys
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "Crucible"
author = "the Crucible authors"
version = release = metadata.version("crucible-bench")
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "catalogue_pages",
    "command_pages",
    "docstrings",
]
# The documentation is built without these packages; only docstrings are read.
autodoc_mock_imports = ["safetensors", "torch", "transformers"]
exclude_patterns = ["_ext", "catalogue/claims_overview.md"]

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_block"]

smartquotes_action = "D"  # dashes alone: quotation marks stay as they are typed
highlight_language = "none"  # literal blocks of docstrings may be equations

add_module_names = False
default_role = "py:obj"  # `name` in a docstring is a link if the name is documented
autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "exclude-members": "model_config",
}
autodoc_type_aliases = {
    name: name for name in ("ArrayLike", "Floats", "Indexes", "Whole", "Counts")
}
autodoc_typehints_format = "short"
autodoc_class_signature = "mixed"
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = "furo"
html_title = "Crucible"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
