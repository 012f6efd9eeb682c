"""The OpenAI-shaped API and the page over one engine. Knows the seam; which engine stands behind it is the caller's business."""
