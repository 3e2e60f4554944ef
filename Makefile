compile:
	.venv/bin/uv pip compile pyproject.toml --generate-hashes --universal --python-version 3.11 --no-header -q -o requirements/runtime.txt
	.venv/bin/uv pip compile pyproject.toml --group dev -c requirements/runtime.txt --generate-hashes --universal --python-version 3.11 --no-header -q -o requirements/development.txt
