# One image for all services; the command says which:
#   docker run arrwdb node dist/services/scheduler/main.js
# glibc is needed (usearch and lmdb bring prebuilt binaries for it): Debian, not Alpine.

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY proto proto
COPY platform platform
COPY services services
COPY client client
COPY cli cli
RUN npm run build && npm prune --omit=dev --ignore-scripts

FROM node:24-bookworm-slim
ENV NODE_ENV=production NODE_OPTIONS=--enable-source-maps ARRW_DATA_DIR=/data
# Open libraries take less than half of the memory, see docs/operations.md.
ENV MALLOC_MMAP_THRESHOLD_=1048576
WORKDIR /app
COPY --from=build /app/package.json ./
COPY --from=build /app/node_modules node_modules
COPY --from=build /app/dist dist
RUN ln -s /app/dist/cli/arrw.js /usr/local/bin/arrw && chmod +x /app/dist/cli/arrw.js \
  && mkdir /data && chown node:node /data
USER node
VOLUME /data
CMD ["node", "dist/services/gateway/main.js"]
