"""Face-MLLM: a language model that answers questions about a face, and the pipeline that makes its data."""
