"""What extends the API at run time: custom resource definitions and their conversion, aggregated API servers, and the way to both."""
